//! Users who come back, and plugins that say what can't be.

use std::rc::Rc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::{Origin, Setup};
use crate::base::ids::PoolIndex;
use crate::hook::{
    Affinity, Binding, Edit, Failure, Finding, Note, RequestView, ResponseView, Sticky,
};

/// Does what the request's `x-at` says: the name of a server, `key`, or `fails`.
struct AsTold;

impl Sticky for AsTold {
    fn find(&self, _: PoolIndex, request: &dyn RequestView) -> Result<Finding, Failure> {
        let at = request.field(&HeaderName::from_static("x-at"));
        let affinity = match at.as_deref() {
            Some(b"fails") => return Err(Failure::Failed),
            Some(b"key") => Affinity::Key(b"k".to_vec()),
            Some(name) => Affinity::Server(String::from_utf8_lossy(name).into_owned()),
            None => Affinity::None,
        };
        let note = Note {
            name: "seen".into(),
            value: "yes".into(),
        };
        Ok(Finding {
            affinity,
            edits: vec![Edit::Remove(HeaderName::from_static("x-at"))],
            notes: vec![note],
            reason: None,
        })
    }

    fn bind(
        &self,
        _: PoolIndex,
        server: &str,
        response: &dyn ResponseView,
    ) -> Result<Binding, Failure> {
        if response.request().note("seen").is_none() {
            return Err(Failure::Failed);
        }
        let cookie = HeaderValue::from_str(&format!("at={server}")).unwrap();
        Ok(Binding {
            edits: vec![Edit::SetCookie("at".into(), cookie)],
            remember: Some((b"k".to_vec(), Duration::from_secs(1))),
        })
    }

    fn recall(&self, _: PoolIndex, _: &[u8]) -> Option<String> {
        Some("s1".into())
    }
}

fn setup(origins: &[std::net::SocketAddr]) -> Setup {
    let mut setup = Setup::with(origins);
    setup.sticky = Some(|| Rc::new(AsTold));
    setup
}

async fn ask(client: &mut super::Client, at: &str) -> (String, Option<String>) {
    let request = format!("GET / HTTP/1.1\r\nhost: a\r\nx-at: {at}\r\n\r\n");
    client.send(&request).await;
    let got = client.response().await;
    (got.text(), got.field("set-cookie"))
}

#[tokio::test]
async fn a_user_is_brought_back_by_name_and_by_key() {
    let (a, b) = (Origin::named("a").await, Origin::named("b").await);
    let mut setup = setup(&[a.address, b.address]);
    setup.weights = vec![0, 0];
    let proxy = setup.start().await;
    let mut client = proxy.client().await;
    for _ in 0..3 {
        let bound = |server: &str| Some(format!("at={server}"));
        assert_eq!(ask(&mut client, "s0").await, ("a".into(), bound("s0")));
        assert_eq!(ask(&mut client, "s1").await, ("b".into(), bound("s1")));
        assert_eq!(ask(&mut client, "key").await, ("b".into(), bound("s1")));
    }
    assert_eq!(proxy.get("/").await.status, 503, "at weight 0 for new ones");
}

#[tokio::test]
async fn a_server_that_there_is_not_and_a_failure_end_in_a_pick() {
    let a = Origin::named("a").await;
    let proxy = setup(&[a.address]).start().await;
    let mut client = proxy.client().await;
    let bound = Some("at=s0".to_owned());
    assert_eq!(ask(&mut client, "nobody").await, ("a".into(), bound));
    assert_eq!(ask(&mut client, "fails").await, ("a".into(), None));
}

#[tokio::test]
async fn a_dead_server_loses_its_user_who_is_bound_to_the_other() {
    let (dead, b) = (Origin::dead().await, Origin::named("b").await);
    let proxy = setup(&[dead, b.address]).start().await;
    let mut client = proxy.client().await;
    let bound = Some("at=s1".to_owned());
    assert_eq!(ask(&mut client, "s0").await, ("b".into(), bound));
    assert_eq!(proxy.events.first().await.attempts, 2);
}
