//! Behaves; for `cargo bench`: a filter that is told two headers and answers two edits.

use tidegate_sdk::prelude::*;

struct Edits;

impl Plugin for Edits {
    type Settings = NoSettings;
    fn new(_: NoSettings, _: &Context) -> Result<Self, String> {
        Ok(Edits)
    }
    fn interest(&self) -> Interest {
        Interest::none().header("x-tenant").header("x-user")
    }
}

impl RequestFilter for Edits {
    fn request(&self, r: &Request) -> Outcome {
        let tenant = r.header_bytes("x-tenant").unwrap_or_default();
        let user = r.header_bytes("x-user").unwrap_or_default();
        next().set("x-seen-tenant", tenant).set("x-seen-user", user)
    }
}

export!(Edits: RequestFilter);
