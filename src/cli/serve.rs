//! `serve`: the page at an address of this machine, with the headers that it wants.

use std::net::{IpAddr, SocketAddr};

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

use super::{
    files::{Outcome, project_root},
    options::PLACES,
    site,
};

/// Nothing but this page's own files, wasm, and pictures that the page made itself.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; \
     connect-src 'self'; img-src 'self' blob: data:; style-src 'self'; frame-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'none'";
/// In the frames that fetch a base from elsewhere when a person asks for it; each page there narrows the hosts down itself.
const FETCHING: &str = "default-src 'none'; script-src 'self'; connect-src https: http:; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'self'";

#[derive(clap::Args)]
pub struct Args {
    /// The address to listen on; 0.0.0.0 lets other machines in
    #[arg(long, default_value = "127.0.0.1")]
    host: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// The base: `npm` (the package nsfwjs), `imagenet` (the Hugging Face hub, or the address in INCEPTION_WEB_IMAGENET_URL), an address,
    /// or a weights file of any kind; `auto` takes imagenet's, or npm's where that cannot be had
    #[arg(long, value_name = PLACES, default_value = "auto")]
    weights: String,
    /// The cargo profile of the wasm builds: `web`, or `web-dev`, which builds faster and runs slower
    #[arg(long, default_value = "web")]
    profile: String,
}

pub fn run(args: Args) -> Outcome {
    tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?
        .block_on(serve(args))
}

async fn serve(args: Args) -> Outcome {
    // The port first: a build of minutes should not end with "in use".
    let address = SocketAddr::from((args.host, args.port));
    let taken =
        |error| format!("{address} cannot be listened on ({error}); choose another with --port");
    let listener = TcpListener::bind(address).await.map_err(taken)?;
    let root = project_root()?;
    let site = site::prepare(&root, &args.weights, &args.profile)?;
    let (folder, manifest) = (root.clone(), site.manifest);
    // Made anew each time, as files of the page may change while it is served.
    let listed = async move || match site::listed(&folder, &manifest) {
        Ok(listed) => (StatusCode::OK, listed.to_string()),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
    };
    let json = [(header::CONTENT_TYPE, "application/json")];
    let router = Router::new()
        .route("/pkg/site.json", get(async move || (json, listed().await)))
        .route_service(
            "/pkg/base.safetensors",
            ServeFile::new(site.base).precompressed_br(),
        )
        .nest_service("/pkg", ServeDir::new(root.join("pkg")).precompressed_br())
        .nest_service("/npm", ServeDir::new(root.join("pkg/npm")))
        .fallback_service(ServeDir::new(root.join("www")))
        .layer(middleware::from_fn(headers));
    println!(
        "inception-web is ready at http://{}",
        listener.local_addr()?
    );
    Ok(axum::serve(listener, router).await?)
}

/// Isolation, the content policy, and how long a browser may keep what it got: for good where the address carries a version.
async fn headers(request: Request, next: Next) -> Response {
    let versioned = request
        .uri()
        .query()
        .is_some_and(|query| query.starts_with("v="));
    let policy = match request.uri().path().starts_with("/fetch/") {
        true => FETCHING,
        false => CONTENT_SECURITY_POLICY,
    };
    let mut response = next.run(request).await;
    let keep = versioned && response.status().is_success();
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, policy),
        (
            header::CACHE_CONTROL,
            if keep {
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
