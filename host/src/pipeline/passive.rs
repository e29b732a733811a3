//! What an attempt met, told to passive health where the pool has it.

use http::StatusCode;

use super::fault::Fault;
use super::site::PoolSite;
use crate::config::checked::Failures;
use crate::upstream::live::InFlight;

/// Called once an attempt: with the answer's status, or with why there is none.
pub fn met(pool: &PoolSite, place: &mut Option<InFlight>, what: Result<StatusCode, Fault>) {
    if let (Some(rules), Some(place)) = (&pool.passive, place) {
        let failed = counts(&rules.on, what);
        place.met(rules, failed.map(|failed| !failed));
    }
}

/// Whether it failed. None: it says nothing of the server.
fn counts(on: &Failures, what: Result<StatusCode, Fault>) -> Option<bool> {
    match what {
        Ok(status) => {
            let status = status.as_u16();
            let bad = |known: &u16| *known == status || *known == status / 100;
            Some(on.statuses.iter().any(bad))
        }
        Err(Fault::ConnectFailed | Fault::ConnectTimeout | Fault::ServerTls) => {
            on.connect.then_some(true)
        }
        Err(Fault::FirstByteTimeout | Fault::SendTimeout) => on.timeout.then_some(true),
        Err(Fault::ServerClosed | Fault::BadResponse) => on.broken.then_some(true),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_rules_name_counts() {
        let on = Failures {
            connect: true,
            statuses: vec![5, 404],
            ..Failures::default()
        };
        let status = |code| counts(&on, Ok(StatusCode::from_u16(code).unwrap()));
        assert_eq!(
            [200, 404, 403, 503].map(status),
            [false, true, false, true].map(Some)
        );
        assert_eq!(counts(&on, Err(Fault::ConnectFailed)), Some(true));
        assert_eq!(counts(&on, Err(Fault::ServerTls)), Some(true));
        assert_eq!(counts(&on, Err(Fault::NoSocket)), None, "our own");
        assert_eq!(counts(&on, Err(Fault::FirstByteTimeout)), None);
        assert_eq!(counts(&on, Err(Fault::BodyBroken)), None, "the client's");
    }
}
