//! What a service tells probes and Prometheus over HTTP.
//!
//! - `/healthz` answers 200 while the process answers at all.
//! - `/readyz` answers 200 only while every part is ready, else 503 with the reasons.
//! - `/metrics` answers in OpenMetrics text format.

use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::health::{Health, Report};
use crate::metrics::Metrics;
use crate::server::{self, Allowance};

/// What prometheus-client writes.
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Probes and Prometheus are few, and send no bodies.
const ALLOWANCE: Allowance = Allowance { connections: 64, share: 0 };

/// `GET /healthz`, `/readyz` (JSON for `Accept: application/json`, else text) and `/metrics`.
pub fn router(health: &Health, metrics: &Metrics) -> Router {
    let (health, told, metrics) = (health.clone(), health.clone(), metrics.clone());
    let expose = move || ([(header::CONTENT_TYPE, OPENMETRICS)], metrics.expose(told.report().ready));
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move |headers: HeaderMap| ready(&health.report(), &headers)))
        .route("/metrics", get(async move || expose()))
}

/// Serves [`router`] until `shutdown`: for services whose own listener does not speak HTTP.
pub async fn serve(
    listener: TcpListener,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    serve_router(listener, router(&health, &metrics), shutdown).await
}

/// Serves `routes`, [`router`] with more, until `shutdown`.
pub async fn serve_router(listener: TcpListener, routes: Router, shutdown: CancellationToken) -> anyhow::Result<()> {
    server::serve(listener, routes, ALLOWANCE, None, shutdown).await
}

fn ready(report: &Report, headers: &HeaderMap) -> Response {
    let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if wants_json(headers) {
        let body = serde_json::to_string(report).expect("a report is text and booleans");
        return (status, [(header::CONTENT_TYPE, "application/json")], body).into_response();
    }
    (status, report.to_text()).into_response()
}

fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json")))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn get(router: &Router, path: &str, accept: &str) -> (StatusCode, String, String) {
        let request = Request::get(path).header("accept", accept).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let kind = response.headers()[header::CONTENT_TYPE].to_str().unwrap().to_owned();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn healthz_answers_while_the_process_answers() {
        let (status, _, body) = get(&router(&Health::new(), &Metrics::new()), "/healthz", "*/*").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "ok\n"));
    }

    #[tokio::test]
    async fn readyz_answers_200_only_while_every_part_is_ready() {
        let health = Health::new();
        let router = router(&health, &Metrics::new());
        let link = health.part("relay link");
        let (status, kind, body) = get(&router, "/readyz", "*/*").await;
        assert_eq!((status, body.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "relay link: starting\n"));
        assert!(kind.starts_with("text/plain"));
        link.ready();
        let (status, _, body) = get(&router, "/readyz", "text/plain").await;
        assert_eq!((status, body.as_str()), (StatusCode::OK, "relay link: ready\n"));
    }

    #[tokio::test]
    async fn readyz_speaks_json_when_asked() {
        let health = Health::new();
        health.part("sink").not_ready("kafka does not answer");
        let (status, kind, body) =
            get(&router(&health, &Metrics::new()), "/readyz", "text/html;q=0.5, application/json; q=1").await;
        assert_eq!((status, kind.as_str()), (StatusCode::SERVICE_UNAVAILABLE, "application/json"));
        assert_eq!(body, r#"{"ready":false,"parts":[{"name":"sink","ready":false,"why":"kafka does not answer"}]}"#);
    }

    #[tokio::test]
    async fn metrics_answers_in_openmetrics_text_format() {
        let health = Health::new();
        let router = router(&health, &Metrics::new());
        let link = health.part("relay link");
        let (status, kind, body) = get(&router, "/metrics", "*/*").await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, OPENMETRICS));
        assert!(body.contains("\ngaitway_ready 0\n"), "{body}");
        assert_eq!(body.matches("# EOF\n").count(), 1, "{body}");
        assert!(body.ends_with("# EOF\n"), "{body}");
        link.ready();
        let (_, _, body) = get(&router, "/metrics", "*/*").await;
        assert!(body.contains("\ngaitway_ready 1\n"), "{body}");
    }

    #[tokio::test]
    async fn serve_ends_with_shutdown_though_a_client_stays_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Health::new(), Metrics::new(), shutdown.clone()));
        let silent = tokio::net::TcpStream::connect(address).await.unwrap();
        shutdown.cancel();
        server.await.unwrap().unwrap();
        drop(silent);
    }
}
