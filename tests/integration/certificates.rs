//! Certificates of a folder, and what is said of those that end; plain HTTP where HTTPS is served.

use std::{fs, process::Command};

use crate::support::{
    Client, Origin, Proxy, eventually,
    proxy::config_of,
    tls::{self, Authority, Manner, TlsClient, certificate},
};

/// Which certificate a connection for a name gets.
fn shown(proxy: &Proxy, name: &str) -> Option<Vec<u8>> {
    let config = Manner { ca: "own-ca.pem", ..Manner::default() }.config(proxy.folder());
    let client = TlsClient::connect(proxy.address("web"), name, &config).ok()?;
    Some(client.shown().to_vec())
}

#[test]
fn a_folder_of_certificates_is_served_as_it_changes() {
    let origin = Origin::named("hello");
    let folder = tls::folder();
    let (live, authority) = (folder.join("live"), Authority::new(&folder));
    fs::create_dir_all(live.join("b.test")).unwrap();
    authority.issue(&live, "a", &["a.test"]);
    fs::copy(folder.join("own-ca.pem"), live.join("authority.pem")).unwrap();
    let options = "protocol = \"https\"\ncertificates = \"live\"\nalpn = [\"http/1.1\"]\n";
    let proxy = Proxy::start_in(folder, &config_of(&[origin.address().to_string()], options, ""));
    let of = |file: &str| Some(certificate(&live.join(file)).to_vec());
    assert_eq!(shown(&proxy, "a.test"), of("a.pem"));
    assert_eq!(shown(&proxy, "b.test"), None);
    // As ACME clients leave them, one file after the other.
    authority.issue(&live.join("b.test"), "made", &["b.test"]);
    fs::rename(live.join("b.test/made.pem"), live.join("b.test/fullchain.pem")).unwrap();
    fs::rename(live.join("b.test/made.key"), live.join("b.test/privkey.pem")).unwrap();
    eventually("the new pair is served", || shown(&proxy, "b.test") == of("b.test/fullchain.pem"));
    assert_eq!(shown(&proxy, "a.test"), of("a.pem"));
    // Renewed in place.
    authority.issue(&live, "next", &["a.test"]);
    let before = shown(&proxy, "a.test");
    fs::rename(live.join("next.key"), live.join("a.key")).unwrap();
    fs::rename(live.join("next.pem"), live.join("a.pem")).unwrap();
    eventually("the renewed pair is served", || shown(&proxy, "a.test") == of("a.pem"));
    assert_ne!(shown(&proxy, "a.test"), before);
    // A broken pair leaves what is there, and is named.
    let served = shown(&proxy, "b.test");
    fs::write(live.join("b.test/privkey.pem"), "no key").unwrap();
    proxy.until_logged("no private key in", 1);
    assert!(proxy.count_logged("b.test/privkey.pem") > 0);
    assert_eq!(shown(&proxy, "b.test"), served);
    // Mended by taking it away: its name is nobody's then.
    fs::remove_dir_all(live.join("b.test")).unwrap();
    eventually("the pair is gone", || shown(&proxy, "b.test").is_none());
    assert_eq!(shown(&proxy, "a.test"), of("a.pem"));
}

#[test]
fn plain_http_where_tls_is_gets_a_sentence() {
    let origin = Origin::named("hello");
    let options = format!("{}[admin]\naddress = \"127.0.0.1:0\"\n", tls::SECURE);
    let text = config_of(&[origin.address().to_string()], &options, "");
    let proxy = Proxy::start_in(tls::folder(), &text);
    let response = proxy.get("/");
    assert_eq!(response.status, 400);
    assert!(response.text().contains("https://"));
    let url = format!("http://{}/", proxy.address("web"));
    // Also one that uploads more than fits anywhere before it reads.
    let upload = proxy.folder().join("upload");
    fs::write(&upload, vec![b'x'; 50_000]).unwrap();
    let mut curl = Command::new("curl");
    curl.args(["-sS", "--max-time", "20", "-w", "%{http_code}", "-T"]).arg(&upload).arg(&url);
    let output = curl.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.ends_with("400") && said.contains("https://"), "{output:?}");
    let metrics = Client::connect(proxy.address("admin")).get_with("/metrics", "localhost", "").text();
    assert!(metrics.contains("pointsman_plain_http_total{listener=\"web\"} 2\n"), "{metrics}");
    assert!(origin.requests().is_empty());
}

#[test]
fn a_certificate_that_ends_is_noted_wherever_it_is_read() {
    let origin = Origin::named("hello");
    let folder = tls::folder();
    for (name, days) in [("soon", "5"), ("good", "90")] {
        let status = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                days,
            ])
            .args(["-subj", "/CN=a", "-addext", "subjectAltName=DNS:a.test", "-keyout"])
            .arg(folder.join(format!("{name}.key")))
            .arg("-out")
            .arg(folder.join(format!("{name}.pem")))
            .output()
            .unwrap();
        assert!(status.status.success(), "{status:?}");
    }
    let text = |name: &str| {
        let pair = format!("[[listener.certificate]]\nchain = \"{name}.pem\"\nkey = \"{name}.key\"\n");
        config_of(&[origin.address().to_string()], &format!("protocol = \"https\"\n{pair}"), "")
    };
    let proxy = Proxy::start_in(folder, &text("soon"));
    assert_eq!(proxy.count_logged("must be renewed: it expires in"), 1, "at the start");
    let check = Command::new(env!("CARGO_BIN_EXE_pointsman"))
        .args(["check", "--config"])
        .arg(proxy.folder().join("pointsman.toml"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned() + &String::from_utf8_lossy(&check.stderr);
    assert!(check.status.success() && said.contains("soon.pem of listener `web` must be renewed"), "{said}");
    proxy.edit(&text("good"));
    proxy.until_logged("configuration in force", 1);
    assert_eq!(proxy.count_logged("must be renewed"), 1);
    proxy.edit(&text("soon"));
    proxy.until_logged("must be renewed", 2);
}
