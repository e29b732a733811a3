//! The WIT as Rust, generated: one module a role, with the vocabulary shared. Nothing here is meant for authors; the files
//! beside this one give each item its proper face.
//!
//! A world a role, and not one for all of them: what a plugin doesn't export it must not claim to export. `pub_export_macro`
//! is what lets `export!` claim just the roles that it is given.

#![allow(missing_docs, clippy::all, unsafe_op_in_unsafe_fn)]

pub mod base {
    wit_bindgen::generate!({
        path: "wit",
        world: "base",
        pub_export_macro: true,
        export_macro_name: "export_base",
        default_bindings_module: "::tidegate_sdk::bindings::base",
        runtime_path: "::tidegate_sdk::wit_bindgen::rt",
        additional_derives: [PartialEq],
        generate_unused_types: true,
    });
}

macro_rules! role {
    ($module:ident, $world:literal, $export:literal, $path:literal $(, $key:literal)?) => {
        pub mod $module {
            wit_bindgen::generate!({
                path: "wit",
                world: $world,
                pub_export_macro: true,
                export_macro_name: $export,
                default_bindings_module: $path,
                runtime_path: "::tidegate_sdk::wit_bindgen::rt",
                additional_derives: [PartialEq],
                generate_unused_types: true,
                with: { $($key: crate::bindings::base::tidegate::plugin::types)? },
            });
        }
    };
}

role!(
    router,
    "router-role",
    "export_router",
    "::tidegate_sdk::bindings::router",
    "tidegate:plugin/types@0.1.0"
);
role!(
    request_filter,
    "request-filter-role",
    "export_request_filter",
    "::tidegate_sdk::bindings::request_filter",
    "tidegate:plugin/types@0.1.0"
);
role!(
    response_filter,
    "response-filter-role",
    "export_response_filter",
    "::tidegate_sdk::bindings::response_filter",
    "tidegate:plugin/types@0.1.0"
);
role!(
    balancer,
    "balancer-role",
    "export_balancer",
    "::tidegate_sdk::bindings::balancer",
    "tidegate:plugin/types@0.1.0"
);
role!(
    request_balancer,
    "request-balancer-role",
    "export_request_balancer",
    "::tidegate_sdk::bindings::request_balancer",
    "tidegate:plugin/types@0.1.0"
);
role!(
    sticky,
    "sticky-role",
    "export_sticky",
    "::tidegate_sdk::bindings::sticky",
    "tidegate:plugin/types@0.1.0"
);
role!(
    health,
    "health-role",
    "export_health",
    "::tidegate_sdk::bindings::health"
);
role!(
    prober,
    "prober-role",
    "export_prober",
    "::tidegate_sdk::bindings::prober"
);
role!(
    connect,
    "connect-role",
    "export_connect",
    "::tidegate_sdk::bindings::connect",
    "tidegate:plugin/types@0.1.0"
);
role!(
    stateful,
    "stateful-role",
    "export_stateful",
    "::tidegate_sdk::bindings::stateful"
);
