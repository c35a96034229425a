//! What wit-bindgen makes of the contract, and nothing else: the only file that names wit-bindgen.
//!
//! The capabilities are one world; each stage is a world of its own, so that a filter's component exports
//! exactly the stages it named in [`export!`](crate::export). Imports that a filter never calls do not reach
//! its component: the linker drops the functions, and the encoder what nobody refers to.

#![allow(missing_docs, unreachable_pub, unsafe_code, clippy::all, reason = "generated")]

wit_bindgen::generate!({ path: "../wit", world: "wasmilter:filter/capabilities", generate_all });

/// One module per stage, with the bindings of that stage's world. `with` is what the world borrows from the
/// capabilities' bindings, so that a verdict is one type everywhere.
macro_rules! stages {
    ($($module:ident = $world:literal, $inline:literal, with: $with:tt;)+) => {$(
        pub mod $module {
            wit_bindgen::generate!({
                path: "../wit",
                inline: $inline,
                world: $world,
                pub_export_macro: true,
                with: $with,
            });
        }
    )+};
    ($($module:ident = $world:literal, $inline:literal;)+) => {
        stages! {$(
            $module = $world, $inline,
            with: { "wasmilter:filter/types@0.1.0": crate::bindings::wasmilter::filter::types };
        )+}
    };
}

stages! {
    connect = "wasmilter:sdk/connect", "package wasmilter:sdk; world connect { export wasmilter:filter/on-connect@0.1.0; }";
    helo = "wasmilter:sdk/helo", "package wasmilter:sdk; world helo { export wasmilter:filter/on-helo@0.1.0; }";
    tls = "wasmilter:sdk/tls", "package wasmilter:sdk; world tls { export wasmilter:filter/on-tls@0.1.0; }";
    auth = "wasmilter:sdk/auth", "package wasmilter:sdk; world auth { export wasmilter:filter/on-auth@0.1.0; }";
    mail = "wasmilter:sdk/mail", "package wasmilter:sdk; world mail { export wasmilter:filter/on-mail@0.1.0; }";
    rcpt = "wasmilter:sdk/rcpt", "package wasmilter:sdk; world rcpt { export wasmilter:filter/on-rcpt@0.1.0; }";
    rcpt_reply = "wasmilter:sdk/rcpt-reply", "package wasmilter:sdk; world rcpt-reply { export wasmilter:filter/on-rcpt-reply@0.1.0; }";
    data = "wasmilter:sdk/data", "package wasmilter:sdk; world data { export wasmilter:filter/on-data@0.1.0; }";
    headers = "wasmilter:sdk/headers", "package wasmilter:sdk; world headers { export wasmilter:filter/on-headers@0.1.0; }";
    body = "wasmilter:sdk/body", "package wasmilter:sdk; world body { export wasmilter:filter/on-body@0.1.0; }";
    message = "wasmilter:sdk/message", "package wasmilter:sdk; world message { export wasmilter:filter/on-message@0.1.0; }";
    reply = "wasmilter:sdk/reply", "package wasmilter:sdk; world reply { export wasmilter:filter/on-reply@0.1.0; }";
    unknown = "wasmilter:sdk/unknown", "package wasmilter:sdk; world unknown { export wasmilter:filter/on-unknown@0.1.0; }";
    abort = "wasmilter:sdk/abort", "package wasmilter:sdk; world abort { export wasmilter:filter/on-abort@0.1.0; }";
}

stages! {
    init = "wasmilter:sdk/init", "package wasmilter:sdk; world init { export wasmilter:filter/lifecycle@0.1.0; }", with: {};
    about = "wasmilter:sdk/about", "package wasmilter:sdk; world about { export wasmilter:filter/about@0.1.0; }", with: {};
    quit = "wasmilter:sdk/quit", "package wasmilter:sdk; world quit { export wasmilter:filter/on-quit@0.1.0; }", with: {};
}
