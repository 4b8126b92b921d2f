use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use super::*;

/// An API server that gives these answers in turn, then none at all.
#[derive(Clone, Default)]
struct Server {
    answers: Arc<Mutex<VecDeque<Response<()>>>>,
    seen: Arc<Mutex<Vec<Request<Body>>>>,
}

impl Server {
    fn that_answers(answers: impl IntoIterator<Item = (u16, Option<&'static str>)>) -> Self {
        let answer = |(status, retry_after): (u16, Option<&str>)| {
            let response = Response::builder().status(status);
            let response =
                retry_after.into_iter().fold(response, |response, value| response.header(RETRY_AFTER, value));
            response.body(()).unwrap()
        };
        Self { answers: Arc::new(Mutex::new(answers.into_iter().map(answer).collect())), ..Self::default() }
    }

    fn requests(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Service<Request<Body>> for Server {
    type Response = Response<()>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<()>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        let answer = self.answers.lock().unwrap().pop_front();
        Box::pin(async {
            match answer {
                Some(answer) => Ok(answer),
                None => std::future::pending().await,
            }
        })
    }
}

fn read() -> Request<Body> {
    Request::get("/api/v1/namespaces/a/configmaps/b").body(Body::empty()).unwrap()
}

fn apply() -> Request<Body> {
    let request =
        Request::patch("/api/v1/namespaces/a/configmaps/b").header("content-type", "application/apply-patch+yaml");
    request.body(Body::from(b"{}".to_vec())).unwrap()
}

fn create() -> Request<Body> {
    Request::post("/api/v1/namespaces/a/configmaps").body(Body::from(b"{}".to_vec())).unwrap()
}

async fn send_to(server: &Server, request: Request<Body>) -> (Result<u16, BoxError>, Arc<Metrics>) {
    let metrics = Arc::new(Metrics::new());
    let service = RequestsLayer::new(metrics.clone()).layer(server.clone());
    (service.oneshot(request).await.map(|response| response.status().as_u16()), metrics)
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_again_for_reads_and_applies() {
    for request in [read(), apply()] {
        let server = Server::that_answers([(429, None), (503, None), (200, None)]);
        assert_eq!(send_to(&server, request).await.0.unwrap(), 200);
        assert_eq!(server.requests(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_no_more_than_three_times() {
    let server = Server::that_answers([(429, None), (429, None), (429, None), (200, None)]);
    assert_eq!(send_to(&server, read()).await.0.unwrap(), 429);
    assert_eq!(server.requests(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_create_is_never_sent_twice() {
    let server = Server::that_answers([(503, None), (201, None)]);
    assert_eq!(send_to(&server, create()).await.0.unwrap(), 503);
    assert_eq!(server.requests(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_time_that_the_server_asks_for_is_kept_unless_it_is_long() {
    let started = time::Instant::now();
    let server = Server::that_answers([(429, Some("3")), (200, None)]);
    assert_eq!(send_to(&server, read()).await.0.unwrap(), 200);
    assert_eq!(started.elapsed().as_secs(), 3);

    let server = Server::that_answers([(429, Some("30")), (200, None)]);
    assert_eq!(send_to(&server, read()).await.0.unwrap(), 429);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_answer_is_given_up() {
    let (result, metrics) = send_to(&Server::default(), read()).await;
    assert_eq!(result.unwrap_err().to_string(), "the API server did not answer within 15 s");
    assert!(metrics.encode().unwrap().contains(r#"{verb="get",resource="configmaps",code="timeout"} 1"#));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_is_counted() {
    let server = Server::that_answers([(429, None), (200, None)]);
    let (_, metrics) = send_to(&server, apply()).await;
    let text = metrics.encode().unwrap();
    for code in [429, 200] {
        let line = format!(r#"{{verb="apply",resource="configmaps",code="{code}"}} 1"#);
        assert!(text.contains(&line), "{text}");
    }
}
