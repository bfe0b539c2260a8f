//! A player in a browser: plays, seeks to the end and back, and asks for the ranges that it needs.

use std::fs;

use serde_json::Value;

use crate::{
    real_servers::Server,
    support::{
        Proxy,
        browser::{Browser, is_there},
        eventually,
        proxy::{config, folder},
    },
};

const PAGE: &str = "<!doctype html><title>player</title><video id=\"video\" muted controls></video>";

/// Two minutes of a tone that rises, 20 MB, as WAV (RIFF, PCM of 16 bits, two channels).
fn recording() -> Vec<u8> {
    const SECOND: u32 = 44_100;
    let samples = 120 * SECOND;
    let length = samples * 4;
    let mut bytes = Vec::with_capacity(length as usize + 44);
    bytes.extend_from_slice(b"RIFF");
    bytes.extend_from_slice(&(length + 36).to_le_bytes());
    bytes.extend_from_slice(b"WAVEfmt \x10\0\0\0\x01\0\x02\0");
    bytes.extend_from_slice(&SECOND.to_le_bytes());
    bytes.extend_from_slice(&(SECOND * 4).to_le_bytes());
    bytes.extend_from_slice(b"\x04\0\x10\0data");
    bytes.extend_from_slice(&length.to_le_bytes());
    for number in 0..samples {
        let height = (number.wrapping_mul(number >> 12) as u16).to_le_bytes();
        bytes.extend_from_slice(&height);
        bytes.extend_from_slice(&height);
    }
    bytes
}

/// Files of the folder's `files` from disk at `/disk/*`, by nginx with a cache at `/nginx/*`.
fn service() -> Option<(Server, Proxy)> {
    let folder = folder();
    let files = folder.join("files");
    fs::create_dir(&files).unwrap();
    fs::write(files.join("page.html"), PAGE).unwrap();
    fs::write(files.join("tone.wav"), recording()).unwrap();
    let text = "daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr crit;
        events { worker_connections 200; }
        http {
            types { audio/wav wav; text/html html; }
            access_log off;
            client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
            fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
            server { listen ADDRESS; root FOLDER/files; add_header Cache-Control max-age=3600; }
        }";
    let prefix = folder.to_str().unwrap();
    let server = Server::start("nginx", &["-e", "stderr", "-p", prefix, "-c"], &folder, text)?;
    let more = format!(
        "---\n[[route]]\nname = \"disk\"\npaths = [\"/disk/*\"]\n\
         files = {{ root = \"{}\", strip_prefix = \"/disk\" }}\n\
         [[cache]]\nname = \"media\"\nmemory = \"64MiB\"\nmax_object = \"32MiB\"\n",
        files.display()
    );
    let nginx = "upstream = \"u\"\ncache = \"media\"\nrewrite = { strip_prefix = \"/nginx\" }\n";
    let text = config(&[server.address], &more).replacen("upstream = \"u\"\n", nginx, 1);
    Some((server, Proxy::start_in(folder, &text)))
}

/// A player on a page.
struct Player<'a>(&'a Browser);

impl Player<'_> {
    fn state(&self) -> Value {
        self.0.run(
            "const it = document.getElementById('video'); return { at: it.currentTime, length: it.duration || 0, \
             ready: it.readyState, seeking: it.seeking, ended: it.ended, error: it.error?.message ?? null }",
        )
    }

    fn until(&self, what: &str, is_so: impl Fn(&Value) -> bool) {
        eventually(what, || {
            let state = self.state();
            assert_eq!(state["error"], Value::Null, "{what}: {state}");
            is_so(&state)
        });
    }

    fn run(&self, script: &str) {
        self.0.run(&format!("const it = document.getElementById('video'); {script}"));
    }

    fn seek(&self, to: u32) {
        self.run(&format!("it.currentTime = {to};"));
        let is_there = |it: &Value| {
            it["seeking"] == false && it["ready"].as_u64() >= Some(2) && it["at"].as_f64() >= Some(to.into())
        };
        self.until(&format!("it is at {to} s"), is_there);
    }

    /// Plays the beginning, a part near the end, the beginning again, and the very end.
    fn plays_and_seeks(&self, address: &str) {
        self.0.open(&address.replace("tone.wav", "page.html"));
        self.run("it.src = 'tone.wav'; it.play();");
        self.until("it plays", |it| it["at"].as_f64() > Some(0.2));
        assert_eq!(self.state()["length"], 120.0);
        self.seek(100);
        self.until("it goes on there", |it| it["at"].as_f64() > Some(100.2));
        self.seek(1);
        self.until("it goes on at the beginning", |it| (1.2..90.0).contains(&it["at"].as_f64().unwrap()));
        self.seek(119);
        self.until("it ends", |it| it["ended"] == true);
        self.run("it.src = '';");
    }
}

#[test]
fn a_player_seeks_in_files_and_through_a_cache() {
    if !is_there("a player in a browser") {
        return;
    }
    let Some((_server, proxy)) = service() else { return };
    let browser = Browser::start(640, 480);
    let player = Player(&browser);
    let parts = |place: &str| {
        let target = format!("{place}/tone.wav");
        let lines = proxy.access_log();
        lines.into_iter().filter(|line| line["target"] == target.as_str()).collect::<Vec<_>>()
    };
    let root = format!("http://{}", proxy.address("web"));
    for place in ["/disk", "/nginx"] {
        player.plays_and_seeks(&format!("{root}{place}/tone.wav"));
        let of = |lines: &[Value], status: u16| lines.iter().filter(|line| line["status"] == status).count();
        eventually("ranges were asked for", || of(&parts(place), 206) >= 2);
        // It may ask whether what it has is still so. More lines may come yet.
        let lines = parts(place);
        assert_eq!(of(&lines, 206) + of(&lines, 304), lines.len(), "{lines:?}");
    }
    let lines = parts("/nginx");
    let of_cache = |said: &str| lines.iter().filter(|line| line["cache"] == said).count();
    assert_eq!((of_cache("miss"), of_cache("hit")), (1, lines.len() - 1), "{lines:?}");
}
