//! Pictures of it, for the documentation.

use super::*;

/// The service of the pictures: two upstreams, of which one has a backend that dies.
fn service(backends: &[Origin]) -> String {
    let mut text = quiet(&[], "");
    text.truncate(text.find("[[route]]").unwrap());
    text += "[[route]]\nname = \"assets\"\npaths = [\"/assets/*\"]\nupstream = \"api\"\n";
    let mut origins = backends.iter();
    for (upstream, path, balance, weights) in
        [("api", "/api/*", "least-connections", &[2, 1, 1][..]), ("shop", "/*", "round-robin", &[1, 1])]
    {
        text += &format!(
            "[[route]]\nname = \"{upstream}\"\npaths = [\"{path}\"]\nupstream = \"{upstream}\"\n\
             [[upstream]]\nname = \"{upstream}\"\nbalance = \"{balance}\"\n"
        );
        for (number, weight) in weights.iter().enumerate() {
            let address = origins.next().unwrap().address();
            let name = format!("{upstream}-{}", number + 1);
            text += &format!(
                "[[upstream.backend]]\nname = \"{name}\"\naddress = \"{address}\"\nweight = {weight}\n"
            );
        }
        text += "[upstream.health_check]\ninterval = \"1s\"\n[upstream.retry]\nattempts = 1\n";
    }
    text + ADMIN
}

#[test]
fn pictures_are_clear_and_small() {
    if !is_there("pictures of the dashboard") {
        return;
    }
    let target = std::env::var_os("POINTSMAN_SCREENSHOTS");
    let slow = |least: u64, body: &'static str| {
        let count = AtomicU64::new(0);
        Origin::start(move |request| {
            let number = count.fetch_add(1, SeqCst);
            std::thread::sleep(Duration::from_millis(least + number * 7 % 5 * least));
            let status = if request.target.ends_with("/none") { 404 } else { 200 };
            Reply::Text(status, body.repeat(200))
        })
    };
    let mut backends: Vec<Origin> =
        [2, 3, 4, 5, 6].into_iter().map(|least| slow(least, "an answer")).collect();
    let proxy = Proxy::start(&service(&backends));
    let browser = Browser::start(1280, 900);
    browser.prefer("light");
    show(&browser, &proxy);
    browser.wait("#state", |it| it == "● serving");
    let wave = |seconds: f32| 8 + (12.0 * (1.0 + (seconds / 9.0).sin())) as u64;
    let _load: Vec<Load> = [
        &["/api/users", "/api/orders", "/api/users/7"][..],
        &["/assets/a.css", "/assets/b.js", "/assets/none", "/assets/d.png"],
        &["/", "/cart", "/checkout"],
    ]
    .into_iter()
    .flat_map(|targets| [Load::start(&proxy, targets, wave), Load::start(&proxy, targets, |_| 15)])
    .collect();
    let is_long = target.is_some();
    let wait = |seconds| std::thread::sleep(Duration::from_secs(if is_long { seconds } else { 0 }));
    wait(85);
    backends.pop();
    browser.wait("#upstream-list", |it| it.contains("✕ down") || it.contains("▲ ejected"));
    browser.wait("#error-table", |it| it.contains("502"));
    wait(25);
    let desktop = browser.picture(1270);
    browser.resize(390, 844);
    browser.prefer("dark");
    wait(2);
    let phone = browser.picture(1900);
    let pictures = [("dashboard.png", desktop), ("dashboard-phone.png", phone)];
    for (name, picture) in &pictures {
        if let Some(folder) = &target {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(Path::new(folder).join(name), picture).unwrap();
        }
    }
    for (name, picture) in pictures {
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        assert!((10_000..160_000).contains(&picture.len()), "{name}: {} bytes", picture.len());
    }
}
