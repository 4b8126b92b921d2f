//! What happens to each request to the Kubernetes API on its way out: a time limit, a short retry, a count.
//!
//! - **Time limit.** kube waits for an answer for ever. Here the response's header must come within
//!   [`HEADER_TIMEOUT`]; the body may take as long as it likes, or a watch could not live.
//! - **Retry.** kube would retry everything up to 15 times for minutes, POST included. Here only what is safe to
//!   repeat (reads and server-side apply), only when the server says that it is busy (429, 503), twice, and soon. All
//!   else is left to the run loop, which knows what is worth repeating.
//! - **Count.** Each attempt, by verb, resource and status.

use std::{
    future::Future,
    hash::{BuildHasher as _, RandomState},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, StatusCode, header::RETRY_AFTER};
use kube::client::Body;
use thiserror::Error;
use tokio::time;
use tower::{BoxError, Layer, Service, ServiceExt as _};

use super::backoff::Schedule;
use crate::metrics::{Code, Metrics, RequestLabels};

mod call;
#[cfg(test)]
mod tests;

use call::Call;

/// How long the API server may take until it begins to answer.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a request is sent again.
const RETRIES: u32 = 2;

/// Where the server names no time.
const RETRY_DELAYS: Schedule =
    Schedule { first: Duration::from_millis(250), base: Duration::from_millis(500), cap: Duration::from_secs(1) };

/// A server that asks for more than this is answered by the run loop's backoff, which holds no slot meanwhile.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(5);

/// The API server did not begin to answer in time.
#[derive(Debug, Error)]
#[error("the API server did not answer within {} s", HEADER_TIMEOUT.as_secs())]
pub struct HeaderTimeout;

/// Puts [`Requests`] around a client's service.
#[derive(Clone, Debug)]
pub struct RequestsLayer {
    metrics: Arc<Metrics>,
}

impl RequestsLayer {
    /// Counts into `metrics`.
    #[must_use]
    pub fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics }
    }
}

impl<S> Layer<S> for RequestsLayer {
    type Service = Requests<S>;

    fn layer(&self, inner: S) -> Requests<S> {
        Requests { inner, metrics: self.metrics.clone() }
    }
}

/// See the [module documentation](self).
#[derive(Clone, Debug)]
pub struct Requests<S> {
    inner: S,
    metrics: Arc<Metrics>,
}

impl<S, B> Service<Request<Body>> for Requests<S>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response<B>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, BoxError>> + Send>>;

    /// Always: each attempt awaits the inner service's readiness, within the time limit.
    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(send(self.inner.clone(), self.metrics.clone(), request))
    }
}

async fn send<S, B>(inner: S, metrics: Arc<Metrics>, mut request: Request<Body>) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>> + Clone,
    S::Error: Into<BoxError>,
{
    let call = Call::of(&request);
    let mut sent = 0;
    loop {
        let copy = if sent < RETRIES && call.is_repeatable() { copy(&request) } else { None };
        sent += 1;
        let response = attempt(inner.clone(), request, &call, &metrics).await?;
        match (copy, retry_delay(&response, sent)) {
            (Some(copy), Some(delay)) => {
                time::sleep(delay).await;
                request = copy;
            }
            _ => return Ok(response),
        }
    }
}

async fn attempt<S, B>(
    inner: S,
    request: Request<Body>,
    call: &Call,
    metrics: &Metrics,
) -> Result<Response<B>, BoxError>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Error: Into<BoxError>,
{
    let (code, result) = match time::timeout(HEADER_TIMEOUT, inner.oneshot(request)).await {
        Ok(Ok(response)) => (Code::Status(response.status().as_u16()), Ok(response)),
        Ok(Err(error)) => (Code::Error, Err(error.into())),
        Err(_elapsed) => (Code::Timeout, Err(HeaderTimeout.into())),
    };
    metrics.requested(&RequestLabels { verb: call.verb, resource: call.resource, code });
    result
}

/// When to send again what got this response; `None`: not.
fn retry_delay<B>(response: &Response<B>, sent: u32) -> Option<Duration> {
    if !matches!(response.status(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
        return None;
    }
    let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    match asked.map(Duration::from_secs) {
        Some(asked) => (asked <= LONGEST_RETRY_AFTER).then_some(asked),
        None => Some(RETRY_DELAYS.delay(sent, RandomState::new().hash_one(sent))),
    }
}

/// The same request once more; `None` if its body is a stream.
fn copy(request: &Request<Body>) -> Option<Request<Body>> {
    let body = request.body().try_clone()?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}
