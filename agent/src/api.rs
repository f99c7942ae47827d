//! What the agent tells programs over HTTP, below `/api/v1`. One request's way:
//!
//! 1. The page's guards let it through: its host is ours, and who asks is a reader.
//! 2. [`routes`] answers it: with a [`shape`] of the moment, with what [`query`] asks of today's windows, or with [`events`]
//!    that [`live`] makes once for all [`viewers`].
//!
//! - Whatever is asked below `/api` is answered in JSON: what was asked, or a [`problem`].
//! - Nothing is changed by what is asked. How much is held of it does not grow with how often.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::{MethodRouter, any, get};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::page::Page;
use crate::recent::{Recent, RecentError};

mod events;
pub(crate) mod live;
mod openapi;
pub(crate) mod problem;
mod query;
mod routes;
pub(crate) mod shape;
#[cfg(test)]
mod tests;
mod viewers;

use live::Live;
use problem::Problem;
use viewers::Viewers;

/// Looks into the history at a time.
const LOOKS: usize = 2;

/// What the API needs.
#[derive(Debug)]
pub(crate) struct Api {
    /// What is shown to people.
    pub(crate) page: Arc<Page>,
    /// What phones did.
    pub(crate) recent: Recent,
    /// What viewers are told.
    pub(crate) live: Arc<Live>,
    /// Ends what viewers are told.
    pub(crate) shutdown: CancellationToken,
    viewers: Viewers,
    looks: Arc<Semaphore>,
}

type Route = fn() -> MethodRouter<Arc<Api>>;

/// All that is answered.
const ROUTES: [(&str, Route); 7] = [
    ("/api/v1/status", || get(routes::status)),
    ("/api/v1/phones", || get(routes::phones)),
    ("/api/v1/phones/{deviceId}", || get(routes::phone)),
    ("/api/v1/phones/{deviceId}/windows", || get(routes::windows)),
    ("/api/v1/phones/{deviceId}/activities", || get(routes::activities)),
    ("/api/v1/events", || get(routes::follow)),
    ("/api/v1/openapi.json", || get(routes::document)),
];

/// The routes for programs, to be guarded as the page is.
pub(crate) fn router(api: Api) -> Router {
    let router = ROUTES.iter().fold(Router::new(), |router, (path, route)| router.route(path, route()));
    router
        .route("/api", any(problem::nothing_here))
        .route("/api/", any(problem::nothing_here))
        .route("/api/{*rest}", any(problem::nothing_here))
        .layer(middleware::from_fn(problem::told_as_problems))
        .with_state(Arc::new(api))
}

impl Api {
    /// Over this page and history.
    pub(crate) fn new(page: Arc<Page>, recent: Recent, live: Arc<Live>, shutdown: CancellationToken) -> Self {
        Self { page, recent, live, shutdown, viewers: Viewers::default(), looks: Arc::new(Semaphore::new(LOOKS)) }
    }

    fn is_seen(&self, device: &str) -> bool {
        self.page.status.knows(device)
    }

    /// What `look` finds in the history.
    async fn read<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Recent) -> Result<T, RecentError> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = Arc::clone(&self.looks).acquire_owned().await.map_err(|_| Problem::no_history())?;
        let recent = self.recent.clone();
        // The turn lasts as long as the look, whoever still waits for it.
        let look = move || {
            let _turn = turn;
            look(&recent)
        };
        let found = tokio::task::spawn_blocking(look).await.map_err(|_| Problem::no_history())?;
        found.map_err(|error| {
            tracing::warn!(error = format!("{:#}", anyhow::Error::from(error)), "today's windows cannot be read");
            Problem::no_history()
        })
    }
}
