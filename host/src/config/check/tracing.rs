//! `[tracing]`.

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};

use super::Check;
use crate::config::checked::{Sampling, Tracing};
use crate::config::problem::Problem;
use crate::config::text::Text;
use crate::config::written::File;

/// What the exporter says itself.
const OURS: [http::HeaderName; 5] = [
    HOST,
    CONNECTION,
    CONTENT_LENGTH,
    CONTENT_TYPE,
    TRANSFER_ENCODING,
];

impl Check<'_> {
    /// None: absent, or with a problem.
    pub(super) fn tracing(&mut self, file: &File) -> Option<Tracing> {
        let tracing = &file.tracing.given()?.value;
        let headers = tracing.headers.value.0.iter();
        let headers: Vec<_> = headers
            .filter_map(|(name, value)| {
                // Nor is it quoted where it is no good.
                let hidden = value.located(Text {
                    secret: true,
                    ..value.value.clone()
                });
                self.header(name, &hidden, &OURS)
            })
            .map(|(name, mut value)| {
                value.set_sensitive(true);
                (name, value)
            })
            .collect();
        let name = &tracing.service_name;
        if name.value.value.is_empty() {
            self.problem(Problem::at(
                name.span.clone(),
                "a service without a name",
                "name it, or leave `service-name` out: it is \"tidegate\" then",
            ));
        }
        let endpoint = tracing.endpoint.as_ref()?.value.clone();
        let ca = tracing.ca.given();
        let ca = ca.map(|ca| ca.located(self.source.folder().join(&ca.value.value)));
        if let Some(written) = tracing.ca.given() {
            match endpoint.tls {
                true => drop(self.certificates(written)),
                false => self.problem(Problem::at(
                    written.span.clone(),
                    "`ca` has no meaning without TLS",
                    "write https:// in `endpoint`, or leave `ca` out",
                )),
            }
        }
        Some(Tracing {
            endpoint,
            service: name.value.value.clone(),
            sampling: Sampling::new(tracing.sample.value.0, tracing.parent_based.value),
            headers,
            ca,
            timeout: tracing.timeout.value.0,
            queue: usize::try_from(tracing.queue.value.0).unwrap_or(usize::MAX),
        })
    }
}
