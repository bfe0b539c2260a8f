//! Clients that people have, through the examples, with real servers behind them where there are such.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Output, Stdio},
};

use super::{Example, backend};
use crate::{
    real_servers::Server,
    support::{InTime, Origin, Proxy, Reply, Request, eventually, proxy, skipped, tls},
};

/// What a program that is to succeed says.
fn said(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.in_time().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{command:?}: {status}: {stderr}");
    String::from_utf8(stdout).unwrap()
}

fn has(program: &str) -> bool {
    let has = Command::new(program).arg("--version").output().is_ok();
    if !has {
        skipped(program);
    }
    has
}

/// Bytes that cannot be made shorter.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(next).collect()
}

/// What git's own program for servers says, by CGI (RFC 3875), as a response of HTTP.
fn by_cgi(projects: &Path, request: &Request) -> Vec<u8> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", projects).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REMOTE_USER", "somebody").env("REMOTE_ADDR", "127.0.0.1").env("PATH_INFO", path);
    command.env("QUERY_STRING", query).env("REQUEST_METHOD", &request.method);
    command.env("CONTENT_LENGTH", request.body.len().to_string());
    for (name, field) in [
        ("CONTENT_TYPE", "content-type"),
        ("HTTP_CONTENT_ENCODING", "content-encoding"),
        ("GIT_PROTOCOL", "git-protocol"),
    ] {
        command.env(name, request.header(field).unwrap_or_default());
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let body = request.body.clone();
    // It may answer before it has read all.
    let writing = std::thread::spawn(move || drop(input.write_all(&body)));
    let output = child.wait_with_output().unwrap().stdout;
    writing.join().unwrap();
    let end = output.windows(4).position(|it| it == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(output[..end].to_vec()).unwrap();
    let (status, fields): (Vec<_>, Vec<_>) = head.lines().partition(|line| line.starts_with("Status: "));
    let status = status.first().map_or("200 OK", |line| &line[8..]);
    let body = &output[end + 4..];
    let head = format!(
        "HTTP/1.1 {status}\r\n{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        fields.join("\r\n"),
        body.len()
    );
    [head.as_bytes(), body].concat()
}

#[test]
fn git_pushes_and_clones_through_the_example_of_gitlab() {
    if !has("git") {
        return;
    }
    let folder = tls::folder();
    let projects = folder.join("projects");
    let git = |arguments: &[&str], at: &Path| {
        let mut command = Command::new("git");
        command.current_dir(at).env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_TERMINAL_PROMPT", "0").args(["-c", "user.name=a", "-c", "user.email=a@a.example"]);
        command.args(["-c", "http.sslVerify=false", "-c", "init.defaultBranch=main"]);
        said(command.args(arguments))
    };
    fs::create_dir_all(&projects).unwrap();
    git(&["init", "--bare", "-q", "group/app.git"], &projects);
    let (root, log) = (projects, std::sync::Mutex::new(Vec::new()));
    let log = std::sync::Arc::new(log);
    let seen = log.clone();
    let origin = backend("workhorse", move |request| {
        let (mut request, root, seen) = (request.clone(), root.clone(), seen.clone());
        request.target.starts_with("/group/").then(|| {
            Reply::Take(Box::new(move |connection| {
                if connection.read_body(&mut request) {
                    connection.send(by_cgi(&root, &request));
                    seen.lock().unwrap().push(request);
                }
            }))
        })
    });
    let backends = [("127.0.0.1:8181", origin.address().to_string())];
    let example = Example::start_with("gitlab", folder.clone(), &backends, &[]);
    let port = example.proxy.address("web").port();
    let url = format!("https://git.example.com:{port}/group/app.git");
    let resolve = format!("http.curloptResolve=git.example.com:{port}:127.0.0.1");
    let work = folder.join("work");
    git(&["-c", &resolve, "clone", "-q", &url, "work"], &folder);
    let large = noise(5 << 20);
    fs::write(work.join("large"), &large).unwrap();
    git(&["add", "large"], &work);
    git(&["commit", "-q", "-m", "large"], &work);
    // Over HTTP/2 a push hangs now and then, whatever is at the other end: curl asks git for more behind the end, and git
    // and its child each wait for the other (github.com/git/git/pull/1608, not merged).
    git(&["-c", &resolve, "-c", "http.version=HTTP/1.1", "push", "-q", "origin", "HEAD:main"], &work);
    git(&["-c", &resolve, "clone", "-q", "-b", "main", &url, "again"], &folder);
    assert_eq!(fs::read(folder.join("again/large")).unwrap(), large);
    let log = log.lock().unwrap();
    let pushed = log.iter().find(|it| it.target.ends_with("/git-receive-pack") && it.body.len() > 5 << 20);
    let pushed = pushed.expect("the push came");
    assert_eq!(pushed.header("transfer-encoding"), Some("chunked"), "as git sends what is large");
}

#[test]
fn images_are_pushed_and_pulled_through_the_example() {
    if !has("skopeo") {
        return;
    }
    let folder = tls::folder();
    // Two of them with the same storage and secret, so that any takes the next part of an upload.
    let conf = "version: 0.1\nlog: { level: error }\nstorage: { filesystem: { rootdirectory: FOLDER/images } }\n\
                http: { addr: ADDRESS, secret: shared }\n";
    let start = || Server::start("docker-registry", &["serve"], &folder, conf);
    let (Some(one), Some(two)) = (start(), start()) else { return };
    let backends = [("127.0.0.1:5000", one.address.to_string()), ("127.0.0.1:5001", two.address.to_string())];
    let texts = [("hosts = [\"registry.example.com\"]", "hosts = [\"localhost\"]")];
    let example = Example::start_with("registry", folder.clone(), &backends, &texts);
    let image = folder.join("image");
    fs::create_dir(&image).unwrap();
    let digest = |path: &Path| said(Command::new("sha256sum").arg(path))[..64].to_owned();
    let put = |bytes: &[u8]| {
        let path = image.join("part");
        fs::write(&path, bytes).unwrap();
        let digest = digest(&path);
        fs::rename(&path, image.join(&digest)).unwrap();
        digest
    };
    fs::write(folder.join("layer"), noise(6 << 20)).unwrap();
    let plain = digest(&folder.join("layer"));
    said(Command::new("gzip").arg("-n").arg(folder.join("layer")));
    let bytes = fs::read(folder.join("layer.gz")).unwrap();
    let layer = put(&bytes);
    let conf = format!(
        "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"sha256:{plain}\"]}}}}"
    );
    let conf_digest = put(conf.as_bytes());
    let manifest = format!(
        "{{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\
         \"config\":{{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"sha256:{conf_digest}\",\"size\":{}}},\
         \"layers\":[{{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar+gzip\",\"digest\":\"sha256:{layer}\",\"size\":{}}}]}}",
        conf.len(),
        bytes.len()
    );
    fs::write(image.join("manifest.json"), &manifest).unwrap();
    fs::write(image.join("version"), "Directory Transport Version: 1.1\n").unwrap();
    let name = format!("docker://localhost:{}/group/app:1", example.proxy.address("web").port());
    let skopeo = |arguments: &[&str]| {
        said(
            Command::new("skopeo")
                .args(["--insecure-policy", "--command-timeout", "60s", "copy", "-q"])
                .args(arguments),
        )
    };
    let source = format!("dir:{}", image.display());
    skopeo(&["--dest-tls-verify=false", &source, &name]);
    let target = folder.join("pulled");
    skopeo(&["--src-tls-verify=false", &name, &format!("dir:{}", target.display())]);
    assert_eq!(fs::read_to_string(target.join("manifest.json")).unwrap(), manifest);
    assert_eq!(fs::read(target.join(&layer)).unwrap(), bytes);
    let count =
        |method: &str| example.proxy.access_log().iter().filter(|line| line["method"] == method).count();
    eventually("both blobs are logged", || ["POST", "PATCH", "PUT"].iter().all(|method| count(method) >= 2));
    let lines = example.proxy.access_log();
    assert!(lines.iter().all(|line| line["status"].as_u64().unwrap() < 500), "{lines:?}");
}

/// nginx with WebDAV for the folder's `files`, as the example of Nextcloud expects it; with these directives at its start,
/// and these of its location.
fn webdav(folder: &Path, first: &str, more: &str) -> Option<Server> {
    fs::create_dir(folder.join("files")).unwrap();
    let text = "daemon off; master_process off; pid FOLDER/nginx.pid; error_log stderr crit;
        events { worker_connections 200; }
        http {
            access_log off;
            client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy;
            fastcgi_temp_path FOLDER/fastcgi; uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
            server {
                listen ADDRESS; root FOLDER/files;
                location / { dav_methods PUT DELETE MKCOL COPY MOVE; client_max_body_size 0; MORE }
                location = /status.php { return 200; }
            }
        }";
    let text = format!("{first}{}", text.replace("MORE", more));
    let prefix = folder.to_str().unwrap();
    Server::start("nginx", &["-e", "stderr", "-p", prefix, "-c"], folder, &text)
}

#[test]
fn files_are_moved_by_webdav_through_the_example() {
    let folder = tls::folder();
    let Some(server) = webdav(&folder, "", "") else { return };
    let backends = [("127.0.0.1:8080", server.address.to_string())];
    let example = Example::start_with("nextcloud", folder.clone(), &backends, &[]);
    let url = |path: &str| format!("https://www.example.com/cloud{path}");
    let at = |method: &str, path: &str, more: &[&str]| {
        example.curl(&url(path), &[&["-X", method], more].concat()).status
    };
    let large = folder.join("large");
    fs::write(&large, noise(3 << 20)).unwrap();
    let upload = format!("@{}", large.display());
    assert_eq!(at("MKCOL", "/photos/", &[]), 201);
    assert_eq!(at("PUT", "/old%20name.jpg", &["--data-binary", &upload, "-H", "Expect: 100-continue"]), 201);
    let to = format!("Destination: {}", url("/photos/new%20name.jpg"));
    assert_eq!(at("MOVE", "/old%20name.jpg", &["-H", &to]), 204);
    assert!(!folder.join("files/old name.jpg").exists());
    assert_eq!(fs::read(folder.join("files/photos/new name.jpg")).unwrap(), noise(3 << 20));
    let to = format!("Destination: {}", url("/copy.jpg"));
    assert_eq!(at("COPY", "/photos/new%20name.jpg", &["-H", &to]), 204);
    let again = ["-H", &to, "-H", "Overwrite: F"];
    assert_eq!(at("COPY", "/photos/new%20name.jpg", &again), 412);
    assert_eq!(example.get(&url("/copy.jpg")).body, noise(3 << 20));
    assert_eq!(at("DELETE", "/copy.jpg", &[]), 204);
}

#[test]
fn cadaver_works_by_webdav_below_a_prefix() {
    // What Debian's nginx has of WebDAV without this does not list folders.
    let module = "/usr/lib/nginx/modules/ngx_http_dav_ext_module.so";
    if !has("cadaver") || !Path::new(module).exists() {
        return skipped("cadaver, or nginx's module dav-ext,");
    }
    let folder = proxy::folder();
    // It tells its own place as Nextcloud does with `overwritewebroot`.
    let more =
        "dav_ext_methods PROPFIND OPTIONS; sub_filter '<D:href>' '<D:href>/cloud'; sub_filter_once off;
        sub_filter_types text/xml;";
    let Some(server) = webdav(&folder, &format!("load_module {module}; "), more) else { return };
    let rewrite = "upstream = \"u\"\nrewrite = { strip_prefix = \"/cloud\", responses = true }\n";
    let text = proxy::config(&[server.address], "").replacen("upstream = \"u\"\n", rewrite, 1);
    let proxy = Proxy::start_in(folder.clone(), &text);
    fs::write(folder.join("photo"), noise(3 << 20)).unwrap();
    let url = format!("http://{}/cloud/", proxy.address("web"));
    let mut command = Command::new("timeout");
    command.args(["60", "cadaver", &url]).current_dir(&folder).env("HOME", &folder);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let lines = "mkcol a\nput photo \"old name\"\nmove \"old name\" a/new\ncopy a/new again\nls\n\
                 get again back\ndelete again\ncd a\nls\nquit\n";
    child.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    for part in [
        "Creating `a': succeeded",
        "Uploading photo to",
        "Moving `/cloud/old name' to `/cloud/a/new':  succeeded",
        "Copying `/cloud/a/new' to `/cloud/again':  succeeded",
        "Listing collection `/cloud/': succeeded",
        "Deleting `again': succeeded",
        "Listing collection `/cloud/a/': succeeded",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("failed"), "{said}");
    assert_eq!(fs::read(folder.join("files/a/new")).unwrap(), noise(3 << 20));
    assert_eq!(fs::read(folder.join("back")).unwrap(), noise(3 << 20));
    assert_eq!(fs::read_dir(folder.join("files")).unwrap().count(), 1);
}

/// A daemon of Docker with one container, in which a command says in capitals what it reads, and ends with 7.
fn daemon() -> Origin {
    let json = |status: &str, body: &str| {
        let head = format!("HTTP/1.1 {status}\r\nApi-Version: 1.43\r\nContent-Type: application/json\r\n");
        Reply::Bytes(format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes())
    };
    Origin::start(move |request| {
        let path = request.target.trim_start_matches("/v1.").trim_start_matches(|c: char| c.is_ascii_digit());
        match (&*request.method, path) {
            ("HEAD", "/_ping") => {
                Reply::Bytes(b"HTTP/1.1 200 OK\r\nApi-Version: 1.43\r\nContent-Length: 2\r\n\r\n".to_vec())
            }
            ("GET", "/containers/box/json") => {
                json("200 OK", "{\"Id\":\"box\",\"State\":{\"Running\":true},\"Config\":{\"Tty\":false}}")
            }
            ("POST", "/containers/box/exec") => json("201 Created", "{\"Id\":\"e1\"}"),
            ("GET", "/exec/e1/json") => json("200 OK", "{\"ID\":\"e1\",\"Running\":false,\"ExitCode\":7}"),
            ("POST", "/exec/e1/start") => {
                let mut request = request.clone();
                Reply::Take(Box::new(move |connection| {
                    connection.read_body(&mut request);
                    connection.send(
                        "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n\
                         Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n",
                    );
                    let mut input = Vec::new();
                    let _ = connection.reader.read_to_end(&mut input);
                    let said = input.to_ascii_uppercase();
                    // Of standard output, and how much.
                    let mut frame = vec![1, 0, 0, 0];
                    frame.extend_from_slice(&u32::try_from(said.len()).unwrap().to_be_bytes());
                    frame.extend_from_slice(&said);
                    connection.send(frame);
                }))
            }
            _ => json("404 Not Found", "{\"message\":\"no such thing\"}"),
        }
    })
}

#[test]
fn docker_runs_a_command_in_a_container() {
    if !has("docker") {
        return;
    }
    let daemon = daemon();
    let text = proxy::config(&[daemon.address()], "");
    let text = text.replace("upstream = \"u\"\n", "upstream = \"u\"\nupgrade = [\"tcp\"]\n");
    let proxy = Proxy::start(&text);
    let mut command = Command::new("docker");
    command
        .env("DOCKER_HOST", format!("tcp://{}", proxy.address("web")))
        .env("DOCKER_CONFIG", proxy.folder());
    command.env_remove("DOCKER_CONTEXT").args(["exec", "-i", "box", "tr"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"hello through\n").unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "HELLO THROUGH\n", "{stderr}");
    assert_eq!(output.status.code(), Some(7), "{stderr}");
}
