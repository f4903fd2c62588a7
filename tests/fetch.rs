//! Bases out of the network, by a small server that behaves well and badly.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use inception_web::{format::hex, weights::Weights};
use sha2::{Digest, Sha256};

/// A fresh folder for one test.
fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fetch-{test}"));
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).expect("a new folder comes");
    folder
}

fn run(cache: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_inception-web"))
        .args(arguments)
        .env("INCEPTION_WEB_CACHE", cache)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the command line starts")
}

/// The default base as a file of ours.
fn base(folder: &Path) -> Vec<u8> {
    let file = folder.join("base.safetensors");
    let made = run(
        folder,
        &[
            "weights",
            "--from",
            "npm",
            "--dtype",
            "u8",
            "--out",
            file.to_str().expect("UTF-8"),
        ],
    );
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    fs::read(file).expect("the weights just written")
}

/// Answers requests one after another by `answer`, which gets the path and the headers' text; tells the address and what was asked.
fn serve(
    answer: impl Fn(&str, &str, &mut TcpStream) + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = asked.clone();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut lines = BufReader::new(stream.try_clone().expect("a reader")).lines();
            let head: Vec<_> = lines
                .by_ref()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let path = head
                .first()
                .and_then(|line| line.split(' ').nth(1))
                .unwrap_or("/")
                .to_string();
            let headers = head.join("\n").to_lowercase();
            log.lock().expect("the log").push(headers.clone());
            answer(&path, &headers, &mut stream);
        }
    });
    (address, asked)
}

fn send(stream: &mut TcpStream, status: &str, headers: &str, length: usize, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    // A client that has heard enough may hang up.
    stream.write_all(head.as_bytes()).ok();
    stream.write_all(body).ok();
}

#[test]
fn a_download_that_breaks_off_goes_on_where_it_stopped() {
    let folder = folder("resume");
    let bytes = base(&folder);
    let hash = hex(&Sha256::digest(&bytes));
    let (file, half) = (bytes.clone(), bytes.len() / 2);
    let (address, asked) = serve(move |path, headers, stream| match path {
        // As the hub does: it knows the file, and sends on to where it lies.
        "/resolve/model.safetensors" => {
            let linked = format!(
                "Location: /lies/here\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {}\r\n",
                file.len()
            );
            send(stream, "302 Found", &linked, 0, b"");
        }
        _ if headers.contains(&format!("range: bytes={half}-")) => {
            let range = format!(
                "ETag: \"a\"\r\nContent-Range: bytes {half}-{}/{}\r\n",
                file.len() - 1,
                file.len()
            );
            send(
                stream,
                "206 Partial Content",
                &range,
                file.len() - half,
                &file[half..],
            );
        }
        _ => send(
            stream,
            "200 OK",
            "ETag: \"a\"\r\n",
            file.len(),
            &file[..half],
        ),
    });
    let (url, out) = (
        format!("{address}/resolve/model.safetensors"),
        folder.join("out.safetensors"),
    );
    let fetched = run(
        &folder,
        &[
            "weights",
            "--from",
            &url,
            "--out",
            out.to_str().expect("UTF-8"),
            "--dtype",
            "u8",
        ],
    );
    assert!(
        fetched.status.success(),
        "{}",
        String::from_utf8_lossy(&fetched.stderr)
    );
    let (got, want) = (
        fs::read(out).expect("the file"),
        Weights::open(&bytes).expect("the base"),
    );
    assert_eq!(
        Weights::open(&got).expect("the base").fingerprint,
        want.fingerprint
    );
    let asked = asked.lock().expect("the log");
    assert_eq!(asked.len(), 4, "{asked:#?}");
    assert!(asked[3].contains("if-range: \"a\""), "{}", asked[3]);
    let left = fs::read_dir(&folder).expect("the folder").filter(|entry| {
        entry
            .as_ref()
            .is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "part"))
    });
    assert_eq!(left.count(), 0);
}

#[test]
fn what_a_server_does_wrong_is_a_sentence() {
    let folder = folder("wrong");
    let wrong = "a".repeat(64);
    let (address, _) = serve(move |path, _, stream| match path {
        "/missing" => send(stream, "404 Not Found", "", 0, b""),
        "/closed" => send(stream, "403 Forbidden", "", 0, b""),
        "/login" => send(
            stream,
            "200 OK",
            "Content-Type: text/html\r\n",
            6,
            b"<html>",
        ),
        "/hash" => send(
            stream,
            "200 OK",
            &format!("ETag: \"{wrong}\"\r\n"),
            5,
            b"bytes",
        ),
        "/round" => send(stream, "302 Found", "Location: /round\r\n", 0, b""),
        _ => send(stream, "200 OK", "", 5, b"bytes"),
    });
    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let closed = closed.expect("a port that was free").to_string();
    let hash = hex(&Sha256::digest(b"bytes"));
    let cases = [
        (format!("{address}/missing"), "the server answered 404 Not Found; check the address".to_string()),
        (format!("{address}/closed"), "the server answered 403 Forbidden; it is not open to everyone; download it by hand and give the file".into()),
        (format!("{address}/login"), "the server sent a web page, no weights; check the address, or whether this network asks for a login".into()),
        (format!("{address}/hash"), format!("the SHA-256 of what came is {hash}, the server said {}; it was thrown away, try again", "a".repeat(64))),
        (format!("{address}/round"), "it is sent on without end; check the address".into()),
        (format!("{address}/text"), "weights: text is not what was expected (the format is none of those that are known here); use timm's model.safetensors, torchvision's .pth, Keras' .h5, .weights.h5 or .keras, TF.js's model.json with its shards, or ONNX".into()),
    ];
    for (url, want) in cases {
        let output = run(&folder, &["weights", "--from", &url, "--out", "/dev/null"]);
        assert!(!output.status.success(), "{url}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            said.lines().last(),
            Some(format!("error: {url}: {want}").as_str())
        );
    }
    // The system's own words for it are in the middle.
    let output = run(
        &folder,
        &[
            "weights",
            "--from",
            &format!("http://{closed}/x"),
            "--out",
            "/dev/null",
        ],
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let start = format!("error: http://{closed}/x: {closed} cannot be reached (");
    let end = "); check the connection, or download the file elsewhere and give it\n";
    assert!(said.starts_with(&start) && said.ends_with(end), "{said}");
}

#[test]
fn without_imagenets_weights_the_npm_base_serves_and_says_so_once() {
    let folder = folder("auto");
    let (address, asked) = serve(|_, _, stream| send(stream, "404 Not Found", "", 0, b""));
    let url = format!("{address}/imagenet");
    let output = Command::new(env!("CARGO_BIN_EXE_inception-web"))
        .args([
            "extract",
            "--weights",
            "auto",
            "www/samples/cat.jpg",
            "--out",
        ])
        .arg(folder.join("latents.safetensors"))
        .env("INCEPTION_WEB_CACHE", &folder)
        .env("INCEPTION_WEB_IMAGENET_URL", &url)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the command line starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let want = format!(
        "ImageNet's weights are not used: {url}: the server answered 404 Not Found; check the address. The base out of npm nsfwjs is, \
         which tells things apart less well. `--weights npm` says so without trying, `--weights FILE` takes weights that you have."
    );
    assert_eq!(said.matches(&want).count(), 1, "{said}");
    assert_eq!(asked.lock().expect("the log").len(), 1);
}
