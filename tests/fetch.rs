//! Downloads of weights from a local HTTP server, with interruptions, redirects and errors.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use inception_web::{format::hex, head::latents::Latents, weights::Weights};
use sha2::{Digest, Sha256};

/// Creates an empty folder for a test, which is also its cache folder.
fn folder(test: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("fetch-{test}"));
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).expect("a new folder");
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

/// Returns the default base in the native format.
fn default_base(folder: &Path) -> Vec<u8> {
    let file = folder.join("base.safetensors");
    let output = run(
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
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(file).expect("the written weights")
}

/// Starts a server that handles one request at a time. `respond` gets the path and the headers in lower case.
///
/// Returns the server's URL and the headers of its requests so far.
fn serve(
    respond: impl Fn(&str, &str, &mut TcpStream) + Send + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = format!("http://{}", listener.local_addr().expect("an address"));
    let requests = Arc::new(Mutex::new(Vec::new()));
    let log = requests.clone();
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
            respond(&path, &headers, &mut stream);
        }
    });
    (address, requests)
}

/// Sends a response. `length` is the announced length, `body` may be shorter.
fn send(stream: &mut TcpStream, status: &str, headers: &str, length: usize, body: &[u8]) {
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
    );
    // The client may close the connection early.
    stream.write_all(head.as_bytes()).ok();
    stream.write_all(body).ok();
}

#[test]
fn an_interrupted_download_is_resumed() {
    let folder = folder("resume");
    let bytes = default_base(&folder);
    let hash = hex(&Sha256::digest(&bytes));
    let (file, half) = (bytes.clone(), bytes.len() / 2);
    let (address, requests) = serve(move |path, headers, stream| match path {
        // Like the Hugging Face hub: describes the file and redirects to its storage.
        "/resolve/model.safetensors" => {
            let linked = format!(
                "Location: /storage\r\nX-Linked-Etag: \"{hash}\"\r\nX-Linked-Size: {}\r\n",
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
    let output = run(
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
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (got, want) = (
        fs::read(out).expect("the file"),
        Weights::open(&bytes).expect("the base"),
    );
    assert_eq!(
        Weights::open(&got).expect("the base").fingerprint,
        want.fingerprint
    );
    let requests = requests.lock().expect("the log");
    assert_eq!(requests.len(), 4, "{requests:#?}");
    assert!(requests[3].contains("if-range: \"a\""), "{}", requests[3]);
    let partial = fs::read_dir(&folder).expect("the folder").filter(|entry| {
        entry.as_ref().is_ok_and(|entry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "part")
        })
    });
    assert_eq!(partial.count(), 0);
}

#[test]
fn server_errors_have_messages() {
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
    let out = folder.join("out.safetensors");
    let out = out.to_str().expect("UTF-8");
    let cases = [
        (format!("{address}/missing"), "the server returned 404 Not Found; check the URL".to_string()),
        (format!("{address}/closed"), "the server returned 403 Forbidden; download the file in a browser and pass its path".into()),
        (format!("{address}/login"), "the server returned a web page instead of weights; check the URL, or sign in to this network first".into()),
        (format!("{address}/hash"), format!("invalid SHA-256 of the download: got {hash}, expected {}; the download was deleted, try again", "a".repeat(64))),
        (format!("{address}/round"), "too many redirects; check the URL".into()),
        (format!("{address}/text"), "weights: cannot import text (unknown format); use model.safetensors of timm, .pth of torchvision, .h5, .weights.h5 or .keras of Keras, model.json of TF.js with its shards, or ONNX".into()),
    ];
    for (url, want) in cases {
        let output = run(&folder, &["weights", "--from", &url, "--out", out]);
        assert!(!output.status.success(), "{url}");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(
            stderr.lines().last(),
            Some(format!("error: {url}: {want}").as_str())
        );
    }
    // The message in parentheses is the operating system's.
    let output = run(
        &folder,
        &[
            "weights",
            "--from",
            &format!("http://{closed}/x"),
            "--out",
            out,
        ],
    );
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let start = format!("error: http://{closed}/x: cannot connect to {closed} (");
    let end = "); check the network, or download the file elsewhere and pass its path\n";
    assert!(
        stderr.starts_with(&start) && stderr.ends_with(end),
        "{stderr}"
    );
    assert!(!Path::new(out).exists());
}

#[test]
fn auto_falls_back_to_the_npm_base_with_one_warning() {
    let folder = folder("auto");
    let (address, requests) = serve(|_, _, stream| send(stream, "404 Not Found", "", 0, b""));
    let url = format!("{address}/imagenet");
    let out = folder.join("latents.safetensors");
    let output = Command::new(env!("CARGO_BIN_EXE_inception-web"))
        .args([
            "extract",
            "--weights",
            "auto",
            "www/samples/cat.jpg",
            "--out",
        ])
        .arg(&out)
        .env("INCEPTION_WEB_CACHE", &folder)
        .env("INCEPTION_WEB_IMAGENET_URL", &url)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("the command line starts");
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let want = format!(
        "warning: cannot use the ImageNet weights: {url}: the server returned 404 Not Found; check the URL. Using the base from the npm \
         package nsfwjs, which is less accurate. Use `--weights npm` to select it without a download, or `--weights FILE` for a local file."
    );
    assert_eq!(stderr.matches(&want).count(), 1, "{stderr}");
    assert_eq!(requests.lock().expect("the log").len(), 1);
    let latents = fs::read(out).expect("latents");
    let (latents, _) = Latents::read(&latents, None).expect("valid latents");
    assert_eq!(latents.base.name, "nsfwjs Inception V3");
}
