//! Plugins that misbehave, one a file, each claimed by a test. They are examples of this crate, so that one build makes
//! them all; `tidegate_tests::guest` builds them. A `.wat` is a component that no SDK would make.
//!
//! Most are made by [`misbehaving!`]: a plugin of four roles that answers as it should, except to requests under `/bad`,
//! where it does its one bad thing. Under the setting `on = ["configure", "update", "pick", "response"]` it does it there too.

#[doc(hidden)]
pub use tidegate_sdk;

/// What a misbehaving plugin is told.
#[derive(Clone, Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Where else than on requests under `/bad`.
    pub on: Vec<String>,
}

impl Settings {
    pub fn asks_for(&self, moment: &str) -> bool {
        self.on.iter().any(|m| m == moment)
    }
}

/// A plugin of the roles router, request filter, response filter and balancer whose bad deed is `fn()`.
#[macro_export]
macro_rules! misbehaving {
    ($deed:expr) => {
        use $crate::tidegate_sdk::prelude::*;

        struct Guest($crate::Settings);

        impl Guest {
            fn at(&self, moment: &str) {
                if self.0.asks_for(moment) {
                    $deed();
                }
            }
            fn with(&self, path: &str) {
                if path.starts_with("/bad") {
                    $deed();
                }
            }
        }

        impl Plugin for Guest {
            type Settings = $crate::Settings;
            fn new(settings: $crate::Settings, _: &Context) -> Result<Self, String> {
                let guest = Guest(settings);
                guest.at("configure");
                Ok(guest)
            }
            fn interest(&self) -> Interest {
                Interest::none().path()
            }
        }

        impl Router for Guest {
            fn route(&self, r: &Request) -> Route {
                self.with(r.path());
                Route::next()
            }
        }

        impl RequestFilter for Guest {
            fn request(&self, r: &Request) -> Outcome {
                self.with(r.path());
                next().set("x-guest", "well")
            }
        }

        impl ResponseFilter for Guest {
            fn response(&self, _: &Response) -> ResponseOutcome {
                self.at("response");
                ResponseOutcome::unchanged()
            }
        }

        impl Balancer for Guest {
            fn update(&self, _: &Pool) {
                self.at("update");
            }
            fn pick(&self, pool: &Pool, _: &Pick) -> Option<Slot> {
                self.at("pick");
                pool.usable().next().map(|server| server.slot)
            }
        }

        export!(Guest: Router, RequestFilter, ResponseFilter, Balancer);
    };
}
