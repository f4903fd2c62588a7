//! Weights out of the network: downloaded in parts that are kept, checked, and only then used.
//!
//! The [Hugging Face hub](https://huggingface.co/docs/hub) redirects to where a file lies, and says its SHA-256 and length on the way
//! (`X-Linked-Etag`, `X-Linked-Size`).

use std::{
    env, fs,
    fs::OpenOptions,
    io::{Read, Write},
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use etcetera::BaseStrategy;
use inception_web::format::hex;
use indicatif::{ProgressBar, ProgressStyle};
use sha2::{Digest, Sha256};
use ureq::{
    Agent,
    http::{Response, StatusCode, header},
};

use super::files::Outcome;

/// timm's port of the TF-Slim weights that Keras ships too, trained on ImageNet.
pub const IMAGENET: &str =
    "https://huggingface.co/timm/inception_v3.tf_in1k/resolve/main/model.safetensors";
const REDIRECTS: usize = 5;
/// How often a download that broke off is taken up again.
const ATTEMPTS: u32 = 5;

/// The address of ImageNet's weights: the hub's, or what `INCEPTION_WEB_IMAGENET_URL` says.
pub fn imagenet() -> String {
    env::var("INCEPTION_WEB_IMAGENET_URL").unwrap_or_else(|_| IMAGENET.into())
}

/// Where downloads and converted bases are kept: the user's cache, or what `INCEPTION_WEB_CACHE` says.
pub fn cache() -> Outcome<PathBuf> {
    if let Some(folder) = env::var_os("INCEPTION_WEB_CACHE") {
        return Ok(folder.into());
    }
    let strategy = etcetera::choose_base_strategy()?;
    Ok(strategy.cache_dir().join("inception-web"))
}

/// A name for what comes from an address.
pub fn key(url: &str) -> String {
    hex(&Sha256::digest(url))[..16].into()
}

/// Downloads a file whole into the cache, or goes on with what an earlier attempt got; returns its bytes.
///
/// `patient` tries again where a connection breaks; otherwise only a few seconds are given to find the host.
///
/// # Errors
/// A sentence of what went wrong and what to do.
pub fn download(url: &str, patient: bool) -> Outcome<Vec<u8>> {
    let folder = cache()?;
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let part = folder.join(format!("{}.part", key(url)));
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_resolve(Some(Duration::from_secs(if patient { 20 } else { 4 })))
        .timeout_connect(Some(Duration::from_secs(if patient { 20 } else { 4 })))
        .timeout_recv_response(Some(Duration::from_secs(30)))
        .user_agent(concat!("inception-web/", env!("CARGO_PKG_VERSION")))
        .build()
        .into();
    let mut pause = Duration::from_millis(500);
    for attempt in 1.. {
        match attempt_once(&agent, url, &part) {
            Ok(bytes) => {
                fs::remove_file(&part).ok();
                fs::remove_file(part.with_extension("etag")).ok();
                return Ok(bytes);
            }
            Err(Trouble::Broken(_)) if patient && attempt < ATTEMPTS => {
                sleep(pause);
                pause *= 2;
            }
            Err(Trouble::Broken(reason)) => {
                return Err(format!(
                    "{url}: the download broke off ({reason}); try again, it goes on where it stopped"
                )
                .into());
            }
            Err(Trouble::Final(reason)) => return Err(format!("{url}: {reason}").into()),
        }
    }
    unreachable!("the loop returns")
}

/// Why an attempt came to nothing.
enum Trouble {
    /// The next one may get the rest.
    Broken(String),
    Final(String),
}

fn attempt_once(agent: &Agent, url: &str, part: &Path) -> Result<Vec<u8>, Trouble> {
    let disk = |error: std::io::Error| {
        Trouble::Final(format!(
            "{} cannot be written ({error}); make room, or choose another folder by INCEPTION_WEB_CACHE",
            part.display()
        ))
    };
    let tag_file = part.with_extension("etag");
    let mut got = fs::metadata(part).map_or(0, |part| part.len());
    let tag = fs::read_to_string(&tag_file).unwrap_or_default();
    if tag.is_empty() {
        got = 0;
    }
    let (response, linked) = ask(agent, url, got, &tag)?;
    let status = response.status();
    if status == StatusCode::RANGE_NOT_SATISFIABLE {
        fs::remove_file(part).map_err(disk)?;
        return Err(Trouble::Broken("the file has changed".into()));
    }
    if !status.is_success() {
        let advice = match status.as_u16() {
            401 | 403 => "it is not open to everyone; download it by hand and give the file",
            404 | 410 => "check the address",
            _ => "try again later",
        };
        return Err(Trouble::Final(format!(
            "the server answered {status}; {advice}"
        )));
    }
    let text = |name: &str| {
        let value = response.headers().get(name);
        value
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_string()
    };
    if text("content-type").starts_with("text/html") {
        return Err(Trouble::Final("the server sent a web page, no weights; check the address, or whether this network asks for a login".into()));
    }
    let resumed = status == StatusCode::PARTIAL_CONTENT
        && text("content-range").starts_with(&format!("bytes {got}-"));
    if !resumed {
        got = 0;
    }
    let new_tag = text("etag");
    fs::write(&tag_file, &new_tag).map_err(disk)?;
    let length = text("content-length")
        .parse::<u64>()
        .ok()
        .map(|length| length + got);
    let total = linked.size.or(length);

    let bar = ProgressBar::new(total.unwrap_or(0)).with_style(style());
    bar.set_position(got);
    let mut file = OpenOptions::new()
        .create(true)
        .write(true)
        .append(resumed)
        .truncate(!resumed)
        .open(part)
        .map_err(disk)?;
    let mut body = response
        .into_body()
        .into_with_config()
        .limit(u64::MAX)
        .reader();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = body.read(&mut buffer);
        let read = read.map_err(|error| Trouble::Broken(error.to_string()))?;
        if read == 0 {
            break;
        }
        file.write_all(&buffer[..read]).map_err(disk)?;
        bar.inc(read as u64);
    }
    file.sync_all().map_err(disk)?;
    drop(file);
    bar.finish_and_clear();

    let bytes = fs::read(part).map_err(disk)?;
    if let Some(total) = total.filter(|total| *total != bytes.len() as u64) {
        if bytes.len() as u64 > total {
            fs::remove_file(part).map_err(disk)?;
        }
        return Err(Trouble::Broken(format!("{} of {total} bytes", bytes.len())));
    }
    let hash = linked.sha256.or_else(|| sha256(&new_tag));
    if let Some(want) = hash {
        let got = hex(&Sha256::digest(&bytes));
        if got != want {
            fs::remove_file(part).map_err(disk)?;
            return Err(Trouble::Final(format!(
                "the SHA-256 of what came is {got}, the server said {want}; it was thrown away, try again"
            )));
        }
    }
    Ok(bytes)
}

/// What a hub says of a file before it sends on to where the file lies.
#[derive(Default)]
struct Linked {
    sha256: Option<String>,
    size: Option<u64>,
}

/// Asks for the bytes from `got` on, and goes where it is sent.
fn ask(
    agent: &Agent,
    url: &str,
    got: u64,
    tag: &str,
) -> Result<(Response<ureq::Body>, Linked), Trouble> {
    let mut linked = Linked::default();
    let mut place = url.to_string();
    for _ in 0..=REDIRECTS {
        let mut request = agent.get(&place);
        if got > 0 {
            request = request
                .header(header::RANGE, format!("bytes={got}-"))
                .header(header::IF_RANGE, tag);
        }
        let response = request.call().map_err(|error| {
            let host = place.split('/').nth(2).unwrap_or(&place).to_string();
            Trouble::Final(format!(
                "{host} cannot be reached ({error}); check the connection, or download the file elsewhere and give it"
            ))
        })?;
        let text = |name: &str| {
            let value = response.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        linked.sha256 = text("x-linked-etag").and_then(sha256).or(linked.sha256);
        linked.size = text("x-linked-size")
            .and_then(|size| size.parse().ok())
            .or(linked.size);
        match text("location") {
            Some(next) if response.status().is_redirection() => {
                place = match next.strip_prefix('/') {
                    Some(path) => {
                        let host: Vec<_> = place.splitn(4, '/').take(3).collect();
                        format!("{}/{path}", host.join("/"))
                    }
                    None => next.to_string(),
                };
            }
            _ => return Ok((response, linked)),
        }
    }
    Err(Trouble::Final(
        "it is sent on without end; check the address".into(),
    ))
}

/// The SHA-256 in an ETag, if it is one.
fn sha256(tag: &str) -> Option<String> {
    let tag = tag.trim_start_matches("W/").trim_matches('"');
    let is = tag.len() == 64 && tag.bytes().all(|byte| byte.is_ascii_hexdigit());
    is.then(|| tag.to_ascii_lowercase())
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template(
        "{bar:30} {decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}, {eta} left",
    )
    .expect("our own template")
}
