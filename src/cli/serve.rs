//! `serve`: builds the page and serves it, while slower builds are still being made.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use axum::{
    Router,
    extract::Request,
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::Response,
    routing::get,
};
use tokio::net::TcpListener;
use tower_http::services::{ServeDir, ServeFile};

use super::{files::project_root, options::SiteArgs, result::CliResult, site::Site};

/// Allows the page's own files, wasm, and images that the page creates. `www/index.html` and `www/bench.html` repeat it in a meta tag, for
/// other servers; `tests/structure.rs` compares them.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
     connect-src 'self'; img-src 'self' blob: data:; style-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";
/// For the frames in `www/fetch`, which download a base from another host on request. `www/fetch/any.html` repeats it in
/// a meta tag; `www/fetch/hub.html` does too, and restricts the hosts further.
const FETCH_POLICY: &str = "default-src 'none'; script-src 'self'; connect-src https: http:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'self'";

#[derive(clap::Args)]
pub struct Args {
    /// Address to listen on; 0.0.0.0 accepts connections from other machines
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// Port to listen on; 0 chooses a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    #[command(flatten)]
    site: SiteArgs,
}

pub fn run(args: Args) -> CliResult {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(serve(args))
}

async fn serve(args: Args) -> CliResult {
    // Bind first: a build of minutes should not end with "address in use".
    let address = SocketAddr::from((args.host, args.port));
    let listener = TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address} ({error}); choose another port with --port")
    })?;
    let root = project_root()?;
    let site = Arc::new(Site::prepare(&root, &args.site)?);
    // Created for each request: files of the page may change, and builds finish, while it is served.
    let manifest_site = site.clone();
    let manifest = async move || match manifest_site.manifest() {
        Ok(manifest) => (StatusCode::OK, manifest.to_string()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let json = [(header::CONTENT_TYPE, "application/json")];
    let router = Router::new()
        .route(
            "/pkg/site.json",
            get(async move || (json, manifest().await)),
        )
        .route_service(
            "/pkg/base.safetensors",
            ServeFile::new(&site.base).precompressed_br(),
        )
        .nest_service("/pkg", ServeDir::new(root.join("pkg")).precompressed_br())
        .nest_service("/npm", ServeDir::new(root.join("pkg/npm")))
        .fallback_service(ServeDir::new(root.join("www")))
        .layer(middleware::from_fn(headers));
    println!(
        "inception-web is ready at http://{}",
        listener.local_addr()?
    );
    std::thread::spawn(move || complete(&site));
    Ok(axum::serve(listener, router).await?)
}

/// Makes the remaining builds and reports them in the terminal.
fn complete(site: &Site) {
    let pending = site.pending();
    if !pending.is_empty() {
        eprintln!(
            "The page can already answer. Still to build: {}. An open page can train as soon as `tools` is ready, and uses the others after a reload.",
            pending.join(", ")
        );
    }
    match site.complete() {
        Ok(()) if pending.is_empty() => {}
        Ok(()) => eprintln!("All builds are ready."),
        Err(error) => eprintln!("error: {error}; the page works without what failed"),
    }
}

/// Adds cross-origin isolation, the content policy and caching: URLs with a version are cached forever, others are revalidated.
async fn headers(request: Request, next: Next) -> Response {
    let versioned = request
        .uri()
        .query()
        .is_some_and(|query| query.starts_with("v="));
    let policy = match request.uri().path().starts_with("/fetch/") {
        true => FETCH_POLICY,
        false => CONTENT_SECURITY_POLICY,
    };
    let mut response = next.run(request).await;
    let immutable = versioned && response.status().is_success();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (
            header::CACHE_CONTROL,
            if immutable {
                "public, max-age=31536000, immutable"
            } else {
                "no-cache"
            },
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            header::HeaderName::from_static("cross-origin-embedder-policy"),
            "require-corp",
        ),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}
