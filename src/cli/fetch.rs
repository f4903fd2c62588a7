//! Resumable downloads into the cache folder, verified by SHA-256 and length if the server states them.
//!
//! The [Hugging Face hub](https://huggingface.co/docs/hub) redirects to the storage of a file. The redirect response has the file's SHA-256
//! (`X-Linked-Etag`) and length (`X-Linked-Size`).

use std::{
    env, fs,
    fs::OpenOptions,
    io::{Read, Write},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use etcetera::BaseStrategy;
use indicatif::{ProgressBar, ProgressStyle};
use ureq::{
    Agent,
    http::{Response, StatusCode, header},
};

use super::{files::sha256, result::CliResult};

/// timm's port of the TF-Slim weights, trained on ImageNet. Keras has the same weights.
pub const IMAGENET_URL: &str =
    "https://huggingface.co/timm/inception_v3.tf_in1k/resolve/main/model.safetensors";
const MAX_REDIRECTS: usize = 5;
/// Maximum number of attempts if the connection breaks.
const MAX_ATTEMPTS: u32 = 5;

/// Returns the URL of the ImageNet weights: `INCEPTION_WEB_IMAGENET_URL` if it is set, else [`IMAGENET_URL`].
pub fn imagenet_url() -> String {
    env::var("INCEPTION_WEB_IMAGENET_URL").unwrap_or_else(|_| IMAGENET_URL.into())
}

/// Returns the folder of downloads and converted bases: `INCEPTION_WEB_CACHE` if it is set, else one in the user's cache folder.
pub fn cache_dir() -> CliResult<PathBuf> {
    if let Some(folder) = env::var_os("INCEPTION_WEB_CACHE") {
        return Ok(folder.into());
    }
    let strategy = etcetera::choose_base_strategy()?;
    Ok(strategy.cache_dir().join("inception-web"))
}

/// Returns the name of a URL's file in the cache, without extension: 16 hexadecimal digits.
pub fn cache_key(url: &str) -> String {
    sha256(url.as_bytes())[..16].into()
}

/// Downloads a file and returns its bytes. Resumes the partial file of an interrupted download.
///
/// With `retry`, an interrupted download is retried with increasing delays; without, the timeout to connect is shorter.
///
/// # Errors
/// The connection, the server or the disk failed, or the checksum does not match.
pub fn download(url: &str, retry: bool) -> CliResult<Vec<u8>> {
    let folder = cache_dir()?;
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let part = folder.join(format!("{}.part", cache_key(url)));
    let connect_timeout = Duration::from_secs(if retry { 20 } else { 4 });
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(connect_timeout))
        .timeout_connect(Some(connect_timeout))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .user_agent(concat!("inception-web/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut delay = Duration::from_millis(500);
    for attempt in 1.. {
        match attempt_once(&agent, url, &part) {
            Ok(bytes) => {
                fs::remove_file(&part).ok();
                fs::remove_file(part.with_extension("etag")).ok();
                return Ok(bytes);
            }
            Err(DownloadError::Interrupted(_)) if retry && attempt < MAX_ATTEMPTS => {
                sleep(delay);
                delay *= 2;
            }
            Err(DownloadError::Interrupted(reason)) => {
                return Err(format!(
                    "{url}: the download was interrupted ({reason}); run the command again to resume it"
                )
                .into());
            }
            Err(DownloadError::Fatal(reason)) => return Err(format!("{url}: {reason}").into()),
        }
    }
    unreachable!("the last attempt returns")
}

/// Why an attempt failed.
enum DownloadError {
    /// Another attempt can resume the download.
    Interrupted(String),
    Fatal(String),
}

/// Downloads to `part`; appends if the file on the server is unchanged.
fn attempt_once(agent: &Agent, url: &str, part: &Path) -> Result<Vec<u8>, DownloadError> {
    let disk_error = |error: std::io::Error| {
        DownloadError::Fatal(format!(
            "cannot write {} ({error}); free disk space, or set INCEPTION_WEB_CACHE to another folder",
            part.display()
        ))
    };
    let etag_file = part.with_extension("etag");
    let mut offset = fs::metadata(part).map_or(0, |part| part.len());
    let etag = fs::read_to_string(&etag_file).unwrap_or_default();
    if etag.is_empty() {
        offset = 0;
    }
    let (response, linked) = request(agent, url, offset, &etag)?;
    let status = response.status();
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        fs::remove_file(part).map_err(disk_error)?;
        return Err(DownloadError::Interrupted(
            "the file on the server has changed".into(),
        ));
    }
    if !status.is_success() {
        let advice = match status.as_u16() {
            401 | 403 => "download the file in a browser and pass its path",
            404 | 410 => "check the URL",
            _ => "try again later",
        };
        return Err(DownloadError::Fatal(format!(
            "the server returned {status}; {advice}"
        )));
    }
    let header_text = |name: &str| {
        let value = response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_string()
    };
    if header_text("content-type").starts_with("text/html") {
        return Err(DownloadError::Fatal("the server returned a web page instead of weights; check the URL, or sign in to this network first".into()));
    }
    let resumed = status == StatusCode::PARTIAL_CONTENT
        && header_text("content-range").starts_with(&format!("bytes {offset}-"));
    if !resumed {
        offset = 0;
    }
    let new_etag = header_text("etag");
    fs::write(&etag_file, &new_etag).map_err(disk_error)?;
    let length = header_text("content-length")
        .parse::<u64>()
        .ok()
        .map(|length| length + offset);
    let total = linked.size.or(length);

    let bar = ProgressBar::new(total.unwrap_or(0)).with_style(progress_style());
    bar.set_position(offset);
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(resumed)
        .truncate(!resumed)
        .open(part)
        .map_err(disk_error)?;
    let mut body = response
        .into_body()
        .into_with_config()
        .limit(u64::MAX)
        .reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = body.read(&mut buffer);
        let read = read.map_err(|error| DownloadError::Interrupted(error.to_string()))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(disk_error)?;
        bar.inc(read as u64);
    }
    file.sync_all().map_err(disk_error)?;
    drop(file);
    bar.finish_and_clear();

    let bytes = fs::read(part).map_err(disk_error)?;
    if let Some(total) = total.filter(|total| *total != bytes.len() as u64) {
        if bytes.len() as u64 > total {
            fs::remove_file(part).map_err(disk_error)?;
        }
        return Err(DownloadError::Interrupted(format!(
            "{} of {total} bytes",
            bytes.len()
        )));
    }
    let expected = linked.sha256.or_else(|| sha256_of_etag(&new_etag));
    if let Some(want) = expected {
        let got = sha256(&bytes);
        if got != want {
            fs::remove_file(part).map_err(disk_error)?;
            return Err(DownloadError::Fatal(format!(
                "invalid SHA-256 of the download: got {got}, expected {want}; the download was deleted, try again"
            )));
        }
    }
    Ok(bytes)
}

/// What the redirect responses of the hub say about a file.
#[derive(Default)]
struct Linked {
    sha256: Option<String>,
    size: Option<u64>,
}

/// Requests the bytes from `offset` on, and follows redirects.
fn request(
    agent: &Agent,
    url: &str,
    offset: u64,
    etag: &str,
) -> Result<(Response<ureq::Body>, Linked), DownloadError> {
    let mut linked = Linked::default();
    let mut location = url.to_string();
    for _ in 0..=MAX_REDIRECTS {
        let mut request = agent.get(&location);
        if offset > 0 {
            request = request
                .header(header::RANGE, format!("bytes={offset}-"))
                .header(header::IF_RANGE, etag);
        }
        let response = request.call().map_err(|error| {
            let host = location.split('/').nth(2).unwrap_or(&location).to_string();
            DownloadError::Fatal(format!(
                "cannot connect to {host} ({error}); check the network, or download the file elsewhere and pass its path"
            ))
        })?;
        let header_text = |name: &str| {
            let value = response.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        linked.sha256 = header_text("x-linked-etag")
            .and_then(sha256_of_etag)
            .or(linked.sha256);
        linked.size = header_text("x-linked-size")
            .and_then(|size| size.parse().ok())
            .or(linked.size);
        match header_text("location") {
            Some(next) if response.status().is_redirection() => {
                location = match next.strip_prefix('/') {
                    Some(path) => {
                        let host: Vec<_> = location.splitn(4, '/').take(3).collect();
                        format!("{}/{path}", host.join("/"))
                    }
                    None => next.to_string(),
                };
            }
            _ => return Ok((response, linked)),
        }
    }
    Err(DownloadError::Fatal(
        "too many redirects; check the URL".into(),
    ))
}

/// Returns the ETag if it is a SHA-256.
fn sha256_of_etag(etag: &str) -> Option<String> {
    let etag = etag.trim_start_matches("W/").trim_matches('"');
    let is_sha256 = etag.len() == 64 && etag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_sha256.then(|| etag.to_ascii_lowercase())
}

fn progress_style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
    )
    .expect("a valid template")
}
