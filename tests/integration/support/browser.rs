//! A browser without a window, driven by WebDriver (W3C): Chromium through its chromedriver.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::{PATIENCE, eventually, proxy::folder};

/// A browser with one page; it ends when this is dropped.
pub struct Browser {
    driver: Child,
    address: SocketAddr,
    session: String,
    profile: PathBuf,
}

/// Whether a browser is there; if not, says that this test was skipped.
pub fn is_there(test: &str) -> bool {
    let has =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|it| it.status.success());
    let missing: Vec<&str> =
        ["chromium", "chromedriver"].into_iter().filter(|program| !has(program)).collect();
    if let (false, Some(file)) = (missing.is_empty(), std::env::var_os("POINTSMAN_SKIPPED")) {
        let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
        writeln!(file, "{test}: {} not there", missing.join(" and ")).unwrap();
    }
    if !missing.is_empty() {
        super::skipped(&missing.join(" and "));
    }
    missing.is_empty()
}

/// Starts a chromedriver; none when it ends before it says its port.
fn start_driver() -> Option<(Child, u16)> {
    // A test that is killed leaves no browser behind for long.
    let mut driver = Command::new("timeout")
        .args(["--kill-after=5", "300", "chromedriver", "--port=0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
    let port = lines.by_ref().map_while(Result::ok).find_map(|line| {
        line.split("started successfully on port ").nth(1)?.trim_end_matches('.').parse::<u16>().ok()
    });
    if port.is_none() {
        driver.wait().unwrap();
    }
    // What else it says must find a reader.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    port.map(|port| (driver, port))
}

impl Browser {
    /// Starts it with an empty page of this size.
    pub fn start(width: u32, height: u32) -> Self {
        Self::with(width, height, false)
    }

    /// The same, and it takes any certificate.
    pub fn trusting(width: u32, height: u32) -> Self {
        Self::with(width, height, true)
    }

    fn with(width: u32, height: u32, is_trusting: bool) -> Self {
        // It picks a port for IPv4 and then wants the same for IPv6; where somebody has that, it ends.
        let (driver, port) = (0..5).find_map(|_| start_driver()).expect("chromedriver does not start");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut browser = Self { driver, address, session: String::new(), profile: folder() };
        let arguments = [
            "--headless=new".to_owned(),
            // As root Chromium has no sandbox; and a container's /dev/shm is small.
            "--no-sandbox".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--disable-gpu".to_owned(),
            "--hide-scrollbars".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-component-update".to_owned(),
            "--no-proxy-server".to_owned(),
            format!("--user-data-dir={}", browser.profile.display()),
        ];
        let options = json!({
            "browserName": "chrome",
            "acceptInsecureCerts": is_trusting,
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        });
        let made = browser.ask("POST", "", &json!({"capabilities": {"alwaysMatch": options}}));
        browser.session = format!("/{}", made["sessionId"].as_str().expect("a session"));
        browser.resize(width, height);
        // The page that a browser begins with is its own affair.
        browser.open("about:blank");
        browser.asked();
        browser.console();
        browser
    }

    /// One command; its value. `path` is below that of the session.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_ask(method, path, body).expect("an answer of chromedriver");
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer["value"].clone()
    }

    /// The same for the end of a test that may have failed already; `None` when there is no driver any more.
    fn try_ask(&self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let (path, body) = (format!("/session{}{path}", self.session), body.to_string());
        let body = if method == "POST" { body } else { String::new() };
        let mut stream = TcpStream::connect(self.address).ok()?;
        // To start a browser on a busy machine takes its time.
        stream.set_read_timeout(Some(PATIENCE * 5)).ok()?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(head.as_bytes()).ok()?;
        // It keeps the connection, whatever is asked of it.
        let mut lines = BufReader::new(stream);
        let (mut line, mut status, mut length) = (String::new(), 0, 0);
        while lines.read_line(&mut line).ok()? > 2 {
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3)?.parse().ok()?;
            } else if let Some(rest) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = rest.trim().parse().ok()?;
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        lines.read_exact(&mut answer).ok()?;
        Some((status, serde_json::from_slice(&answer).ok()?))
    }

    /// A command of the DevTools protocol.
    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.ask("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// Opens an address.
    pub fn open(&self, address: &str) {
        self.ask("POST", "/url", &json!({"url": address}));
    }

    /// Makes the page's window this large.
    pub fn resize(&self, width: u32, height: u32) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// `dark` or `light`, as the system would ask for.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.devtools("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// What a script that returns something returns.
    pub fn run(&self, script: &str) -> Value {
        self.ask("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The text of the first element of a selector, as it is seen; empty where there is none.
    pub fn text(&self, selector: &str) -> String {
        // Of what is not shown, `innerText` would be the whole text.
        let script =
            "const it = document.querySelector(SELECTOR); return it?.checkVisibility() ? it.innerText : ''";
        self.run(&script.replace("SELECTOR", &json!(selector).to_string()))
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// Waits until the text of an element is as it should be.
    pub fn wait(&self, selector: &str, is_so: impl Fn(&str) -> bool) -> String {
        let mut text = String::new();
        eventually(&format!("{selector} is as it should be"), || {
            text = self.text(selector);
            let is_so = is_so(&text);
            if !is_so {
                std::thread::sleep(Duration::from_millis(100));
            }
            is_so
        });
        text
    }

    /// Opens another tab in front of the page, does something, and closes it.
    pub fn behind_another(&self, work: impl FnOnce()) {
        let own = self.ask("GET", "/window", &json!({}));
        let other = self.ask("POST", "/window/new", &json!({"type": "tab"}));
        self.ask("POST", "/window", &json!({"handle": other["handle"]}));
        work();
        self.ask("DELETE", "/window", &json!({}));
        self.ask("POST", "/window", &json!({"handle": own}));
    }

    fn element(&self, selector: &str) -> String {
        let found = self.ask("POST", "/element", &json!({"using": "css selector", "value": selector}));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    /// Clicks as a person does: what is hidden or covered cannot be.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.ask("POST", &format!("/element/{element}/click"), &json!({}));
    }

    /// Types into a field, in place of what is there.
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.ask("POST", &format!("/element/{element}/clear"), &json!({}));
        self.ask("POST", &format!("/element/{element}/value"), &json!({"text": text}));
    }

    /// What the page wrote to the console, and what the browser had to complain about, since the last call.
    pub fn console(&self) -> Vec<String> {
        let entries = self.ask("POST", "/se/log", &json!({"type": "browser"}));
        let text =
            |it: &Value| format!("{} {}", it["level"].as_str().unwrap(), it["message"].as_str().unwrap());
        entries.as_array().unwrap().iter().map(text).collect()
    }

    /// The addresses that the browser asked for since the last call.
    pub fn asked(&self) -> Vec<String> {
        let entries = self.ask("POST", "/se/log", &json!({"type": "performance"}));
        let address = |entry: &Value| {
            let event: Value = serde_json::from_str(entry["message"].as_str()?).ok()?;
            let message = &event["message"];
            let is_request = message["method"] == "Network.requestWillBeSent";
            is_request.then(|| message["params"]["request"]["url"].as_str().unwrap().to_owned())
        };
        entries.as_array().unwrap().iter().filter_map(address).collect()
    }

    /// A picture of the whole page, or of its first so many pixels, as PNG.
    pub fn picture(&self, most_height: u32) -> Vec<u8> {
        let size = self.run("const it = document.documentElement; return [it.clientWidth, it.scrollHeight]");
        let height = size[1].as_u64().unwrap().min(most_height.into());
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1});
        let parameters = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let picture = self.devtools("Page.captureScreenshot", &parameters);
        from_base64(picture["data"].as_str().unwrap())
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let script = json!({"script": "return document.body.innerText", "args": []});
            let text =
                self.try_ask("POST", "/execute/sync", &script).map(|(_, answer)| answer["value"].clone());
            eprintln!(
                "the page when the test failed:\n{}",
                text.as_ref().and_then(Value::as_str).unwrap_or("gone")
            );
        }
        if !self.session.is_empty() {
            // It ends the browser, of which only the driver knows the process.
            self.try_ask("DELETE", "", &json!({}));
        }
        let _ = Command::new("kill").arg(self.driver.id().to_string()).status();
        let _ = self.driver.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |sign: u8| match sign {
        b'A'..=b'Z' => sign - b'A',
        b'a'..=b'z' => sign - b'a' + 26,
        b'0'..=b'9' => sign - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let (mut bytes, mut bits, mut count) = (Vec::new(), 0_u32, 0);
    for sign in text.bytes().filter(|sign| *sign != b'=') {
        bits = bits << 6 | u32::from(value(sign));
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    bytes
}
