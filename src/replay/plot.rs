//! Hit ratio over size as an SVG: one file that needs nothing else, readable on a light and on a dark page. Lines
//! differ by colour and by dashes.

use std::fmt::Write;

/// One policy's line.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub name: &'static str,
    /// Sizes in bytes and hit ratios, from the smallest size.
    pub points: Vec<(u64, f64)>,
}

/// The picture, in its own units.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 420.0;
/// The edges of what is plotted.
const LEFT: f64 = 64.0;
const RIGHT: f64 = 620.0;
const TOP: f64 = 48.0;
const BOTTOM: f64 = 356.0;
/// Labels of sizes are at least so far apart.
const BETWEEN_LABELS: f64 = 64.0;

/// Colours on a light page, on a dark page, and dashes.
const LOOKS: [(&str, &str, &str); 7] = [
    ("#0060a8", "#62b0f0", ""),
    ("#c04a00", "#ff9650", "8 4"),
    ("#00805a", "#40c898", "2 3"),
    ("#8a3fa0", "#d090e8", "10 3 2 3"),
    ("#806000", "#d8b840", "5 5"),
    ("#b0204a", "#ff7898", "1 4"),
    ("#506070", "#a8b8c8", "12 4"),
];

/// Draws the lines. `title` is above them.
pub fn draw(title: &str, lines: &[Line]) -> String {
    let scale = Scale::of(lines);
    let mut svg = String::new();
    head(&mut svg, title);
    axes(&mut svg, &scale, lines);
    for (index, line) in lines.iter().enumerate() {
        trace(&mut svg, &scale, index, line);
    }
    legend(&mut svg, lines);
    svg.push_str("</svg>\n");
    svg
}

/// From sizes and ratios to places. Sizes are on a logarithmic scale.
struct Scale {
    smallest: f64,
    largest: f64,
    top: f64,
    step: f64,
}

impl Scale {
    fn of(lines: &[Line]) -> Self {
        let points = || lines.iter().flat_map(|line| &line.points);
        let logarithm = |size: u64| (size.max(1) as f64).ln();
        let smallest = points().map(|point| logarithm(point.0)).fold(f64::INFINITY, f64::min);
        let largest = points().map(|point| logarithm(point.0)).fold(0.0, f64::max);
        let highest = points().map(|point| point.1).fold(0.0, f64::max);
        let step = if highest > 0.5 {
            0.2
        } else if highest > 0.2 {
            0.1
        } else {
            0.05
        };
        Self { smallest, largest, top: ((highest / step).ceil() * step).max(step), step }
    }

    fn x(&self, size: u64) -> f64 {
        let part = ((size.max(1) as f64).ln() - self.smallest) / (self.largest - self.smallest);
        // A single size is in the middle.
        LEFT + (RIGHT - LEFT) * if part.is_finite() { part } else { 0.5 }
    }

    fn y(&self, ratio: f64) -> f64 {
        BOTTOM - (BOTTOM - TOP) * ratio / self.top
    }
}

/// Writing to a string cannot fail.
macro_rules! put {
    ($svg:expr, $($what:tt)*) => { let _ = writeln!($svg, $($what)*); };
}

fn head(svg: &mut String, title: &str) {
    let title = escape(title);
    put!(svg, r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img">"#);
    put!(svg, "<title>{title}</title>\n<style>");
    put!(svg, "svg{{background:#fff;font:13px system-ui,sans-serif}}text{{fill:#222}}.grid{{stroke:#ddd}}");
    put!(svg, ".line{{fill:none;stroke-width:2}}.page{{fill:#fff}}");
    for (index, (light, _, dashes)) in LOOKS.iter().enumerate() {
        put!(
            svg,
            ".l{index}{{stroke:{light};stroke-dasharray:{}}}.d{index}{{fill:{light}}}",
            or_none(dashes)
        );
    }
    put!(svg, "@media(prefers-color-scheme:dark){{svg{{background:#161b22}}.page{{fill:#161b22}}");
    put!(svg, "text{{fill:#e6e6e6}}.grid{{stroke:#3a424d}}");
    for (index, (_, dark, _)) in LOOKS.iter().enumerate() {
        put!(svg, ".l{index}{{stroke:{dark}}}.d{index}{{fill:{dark}}}");
    }
    put!(svg, "}}\n</style>\n<rect class=\"page\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>");
    put!(svg, r#"<text x="{LEFT}" y="26" font-size="15" font-weight="600">{title}</text>"#);
}

fn or_none(dashes: &str) -> &str {
    if dashes.is_empty() { "none" } else { dashes }
}

fn axes(svg: &mut String, scale: &Scale, lines: &[Line]) {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a float beyond the range becomes its end"
    )]
    let steps = (scale.top / scale.step).round() as u32;
    for step in 0..=steps {
        let ratio = f64::from(step) * scale.step;
        let y = scale.y(ratio);
        put!(svg, r#"<line class="grid" x1="{LEFT}" x2="{RIGHT}" y1="{y:.1}" y2="{y:.1}"/>"#);
        put!(svg, r#"<text x="{}" y="{:.1}" text-anchor="end">{ratio:.2}</text>"#, LEFT - 8.0, y + 4.0);
    }
    let mut sizes: Vec<u64> = lines.iter().flat_map(|line| line.points.iter().map(|point| point.0)).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut last = f64::NEG_INFINITY;
    for size in sizes {
        let x = scale.x(size);
        put!(svg, r#"<line class="grid" x1="{x:.1}" x2="{x:.1}" y1="{TOP}" y2="{}"/>"#, BOTTOM + 4.0);
        if x - last >= BETWEEN_LABELS {
            put!(
                svg,
                r#"<text x="{x:.1}" y="{}" text-anchor="middle">{}</text>"#,
                BOTTOM + 20.0,
                human(size)
            );
            last = x;
        }
    }
    let (middle, centre) = ((LEFT + RIGHT) / 2.0, (TOP + BOTTOM) / 2.0);
    put!(svg, r#"<text x="{middle}" y="{}" text-anchor="middle">cache size</text>"#, BOTTOM + 46.0);
    put!(
        svg,
        r#"<text x="18" y="{centre}" text-anchor="middle" transform="rotate(-90 18 {centre})">hit ratio</text>"#
    );
}

fn trace(svg: &mut String, scale: &Scale, index: usize, line: &Line) {
    let look = index % LOOKS.len();
    let places: Vec<String> = line
        .points
        .iter()
        .map(|&(size, ratio)| format!("{:.1},{:.1}", scale.x(size), scale.y(ratio)))
        .collect();
    put!(svg, r#"<polyline class="line l{look}" points="{}"/>"#, places.join(" "));
    for &(size, ratio) in &line.points {
        put!(
            svg,
            r#"<circle class="d{look}" cx="{:.1}" cy="{:.1}" r="3.5"><title>{} at {}: {ratio:.4}</title></circle>"#,
            scale.x(size),
            scale.y(ratio),
            line.name,
            human(size)
        );
    }
}

/// In the order of the ends of the lines, so that the eye finds them.
fn legend(svg: &mut String, lines: &[Line]) {
    let mut order: Vec<(usize, &Line)> = lines.iter().enumerate().collect();
    let last = |line: &Line| line.points.last().map_or(0.0, |point| point.1);
    order.sort_by(|one, other| last(other.1).total_cmp(&last(one.1)));
    for (place, (index, line)) in order.into_iter().enumerate() {
        let (look, y) = (index % LOOKS.len(), TOP + 14.0 + 24.0 * place as f64);
        let (from, to) = (RIGHT + 22.0, RIGHT + 58.0);
        put!(svg, r#"<line class="line l{look}" x1="{from}" x2="{to}" y1="{y}" y2="{y}"/>"#);
        put!(svg, r#"<circle class="d{look}" cx="{}" cy="{y}" r="3.5"/>"#, (from + to) / 2.0);
        put!(svg, r#"<text x="{}" y="{}">{}</text>"#, to + 8.0, y + 4.0, line.name);
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A number of bytes for people: three digits and a unit.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    let (mut number, mut units) = (bytes as f64 / 1024.0, UNITS.iter());
    let mut unit = units.next();
    // What would be shown as 1024 belongs to the next unit.
    while number >= 1023.5 {
        number /= 1024.0;
        unit = units.next();
    }
    let digits = if (number - number.round()).abs() < 0.005 || number >= 99.5 {
        0
    } else if number >= 9.95 {
        1
    } else {
        2
    };
    format!("{number:.digits$} {}", unit.unwrap_or(&"EiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let texts = [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1 KiB"),
            (1536, "1.50 KiB"),
            (100 << 20, "100 MiB"),
            ((1 << 30) - 1, "1 GiB"),
            (u64::MAX, "16 EiB"),
        ];
        texts.iter().for_each(|(bytes, text)| assert_eq!(human(*bytes), *text));
    }

    #[test]
    fn draws_every_policy_and_size_and_needs_nothing_else() {
        let line = |name, low| Line { name, points: vec![(1 << 20, low), (1 << 24, 0.7)] };
        let svg = draw("a <b> & c", &[line("lru", 0.1), line("fifo", 0.0)]);
        for part in
            ["a &lt;b&gt; &amp; c", ">lru<", ">fifo<", "1 MiB", "16 MiB", "hit ratio", "cache size", "dark"]
        {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
        assert_eq!(svg.matches("<polyline").count(), 2);
        for other in ["<script", "href", "url(", "@import", "NaN", "inf"] {
            assert!(!svg.contains(other), "{other} in {svg}");
        }
        assert_eq!(svg.matches("http").count(), 1, "the namespace alone");
    }

    #[test]
    fn one_size_and_no_hits_still_make_a_picture() {
        let svg = draw("", &[Line { name: "lru", points: vec![(5, 0.0)] }]);
        assert!(svg.contains("<circle") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
