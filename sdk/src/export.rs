//! How a plugin becomes the exports of a component: `export!`, and the instance behind it. Only the macro is for authors.

#![allow(missing_docs)] // Public for the macro alone.

use std::cell::{OnceCell, RefCell};
use std::marker::PhantomData;
use std::thread::LocalKey;

use crate::bindings::base::exports::tidegate::plugin::plugin as wit;
use crate::bindings::base::tidegate::plugin::types;
use crate::pool::Members;
use crate::{Context, Interest, Plugin, Pool, PoolIndex, Request, Response, settings};

/// Makes a type the plugin of this crate: `export!(MyPlugin: Router, Balancer);`, once a crate, with the traits that it
/// implements: `Router`, `RequestFilter`, `FetchFilter`, `ResponseFilter`, `Balancer`, `RequestBalancer`, `Sticky`, `Health`,
/// `Prober`, `Connect`, `Stateful`.
///
/// Compiled for anything else than wasm32 it just checks that the traits are implemented, so that `cargo test` runs
/// natively.
///
/// ```
/// use tidegate_sdk::prelude::*;
///
/// struct First;
/// impl Plugin for First {
///     type Settings = NoSettings;
///     fn new(_: NoSettings, _: &Context) -> Result<Self, String> { Ok(First) }
/// }
/// impl Balancer for First {
///     fn pick(&self, pool: &Pool, _: &Pick) -> Option<Slot> {
///         pool.usable().next().map(|server| server.slot)
///     }
/// }
/// export!(First: Balancer);
/// ```
#[macro_export]
macro_rules! export {
    ($plugin:ty : $($role:ident),+ $(,)?) => {
        const _: () = {
            $( $crate::__role!(check $plugin, $role); )+
        };
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static INSTANCE: ::std::cell::OnceCell<$crate::export::Instance<$plugin>> =
                    const { ::std::cell::OnceCell::new() };
            }
            impl $crate::export::Exported for $plugin {
                fn cell() -> &'static ::std::thread::LocalKey<::std::cell::OnceCell<$crate::export::Instance<Self>>> {
                    &INSTANCE
                }
            }
            type Component = $crate::export::Component<$plugin>;
            $crate::bindings::base::export_base!(Component with_types_in $crate::bindings::base);
            $( $crate::__role!(export Component, $role); )+
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __role {
    (check $plugin:ty, $role:ident) => {
        const _: fn() = || {
            fn plays<P: $crate::$role>() {}
            plays::<$plugin>();
        };
    };
    (export $t:ident, Router) => { $crate::bindings::router::export_router!($t with_types_in $crate::bindings::router); };
    (export $t:ident, RequestFilter) => { $crate::bindings::request_filter::export_request_filter!($t with_types_in $crate::bindings::request_filter); };
    (export $t:ident, FetchFilter) => { $crate::bindings::request_filter::export_request_filter!($t with_types_in $crate::bindings::request_filter); };
    (export $t:ident, ResponseFilter) => { $crate::bindings::response_filter::export_response_filter!($t with_types_in $crate::bindings::response_filter); };
    (export $t:ident, Balancer) => { $crate::bindings::balancer::export_balancer!($t with_types_in $crate::bindings::balancer); };
    (export $t:ident, RequestBalancer) => { $crate::bindings::request_balancer::export_request_balancer!($t with_types_in $crate::bindings::request_balancer); };
    (export $t:ident, Sticky) => { $crate::bindings::sticky::export_sticky!($t with_types_in $crate::bindings::sticky); };
    (export $t:ident, Health) => { $crate::bindings::health::export_health!($t with_types_in $crate::bindings::health); };
    (export $t:ident, Prober) => { $crate::bindings::prober::export_prober!($t with_types_in $crate::bindings::prober); };
    (export $t:ident, Connect) => { $crate::bindings::connect::export_connect!($t with_types_in $crate::bindings::connect); };
    (export $t:ident, Stateful) => { $crate::bindings::stateful::export_stateful!($t with_types_in $crate::bindings::stateful); };
}

/// The declared values of a call, as they come over the boundary.
pub type Values = Vec<Option<Vec<u8>>>;

/// A configured plugin with what the SDK keeps for it.
pub struct Instance<P> {
    pub(crate) plugin: P,
    pub(crate) interest: Interest,
    pub(crate) context: Context,
    pub(crate) pools: RefCell<Vec<Option<Members>>>,
}

impl<P: Plugin> Instance<P> {
    pub(crate) fn new(context: wit::Context) -> Result<Instance<P>, String> {
        let settings = settings::parse(&context.config)?;
        let context = Context {
            name: context.name,
            pools: context.pools,
            routes: context.routes,
        };
        let plugin = P::new(settings, &context)?;
        let interest = plugin.interest();
        Ok(Instance {
            plugin,
            interest,
            context,
            pools: RefCell::default(),
        })
    }

    pub(crate) fn request<'a>(&'a self, values: &'a Values) -> Request<'a> {
        Request::new(&self.interest.request, values)
    }

    pub(crate) fn response<'a>(&'a self, values: &'a Values) -> Response<'a> {
        Response::new(&self.interest.response, values)
    }

    /// Keeps a pool's new members, and tells the plugin.
    pub(crate) fn keep(
        &self,
        pool: PoolIndex,
        servers: Vec<types::Server>,
        tell: impl FnOnce(&P, &Pool),
    ) {
        let members = Members::new(pool, self.context.pool_name(pool), servers);
        tell(&self.plugin, &members.pool(&[]));
        let mut pools = self.pools.borrow_mut();
        let index = pool.0 as usize;
        if pools.len() <= index {
            pools.resize_with(index + 1, || None);
        }
        pools[index] = Some(members);
    }
}

/// The type that carries a plugin's exports: the generated traits are foreign to the plugin's crate.
pub struct Component<P>(PhantomData<P>);

/// Implemented by `export!`: where the one instance of this store lives.
pub trait Exported: Plugin {
    fn cell() -> &'static LocalKey<OnceCell<Instance<Self>>>;

    #[inline]
    fn instance<R>(call: impl FnOnce(&Instance<Self>) -> R) -> R {
        Self::cell().with(|cell| {
            call(
                cell.get()
                    .expect("the host configures a plugin before it calls it"),
            )
        })
    }
}

impl<P: Exported> wit::Guest for Component<P> {
    fn configure(context: wit::Context) -> Result<Interest, String> {
        std::panic::set_hook(Box::new(|panic| crate::log::error(in_a_line(panic))));
        let instance = Instance::<P>::new(context)?;
        let interest = instance.interest.clone();
        let fresh = P::cell().with(|cell| cell.set(instance).is_ok());
        if fresh {
            Ok(interest)
        } else {
            Err("configured twice".into())
        }
    }
}

/// What a panic says and where, for the log.
fn in_a_line(panic: &std::panic::PanicHookInfo<'_>) -> String {
    let words = panic.payload_as_str().unwrap_or("no message");
    match panic.location() {
        Some(place) => format!("panicked at {place}: {words}"),
        None => format!("panicked: {words}"),
    }
}
