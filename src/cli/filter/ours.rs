//! What of ours goes into a filter's folder: the contract, the SDKs, the templates. In the program itself, so that
//! whoever has it needs nothing else of us.

use super::project::Language;

/// A folder that belongs to us inside somebody's project.
pub(super) struct Folder {
    pub place: &'static str,
    /// Path below it → text.
    pub files: &'static [(&'static str, &'static str)],
}

/// A file that belongs to the author as soon as it is written.
pub(super) struct File {
    pub name: &'static str,
    pub text: &'static str,
    pub what: &'static str,
}

macro_rules! below {
    ($folder:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_str!(concat!("../../../filters/", $folder, "/", $name)))),+]
    };
}

macro_rules! template {
    ($folder:literal: $($name:literal, $what:literal;)+) => {
        &[
            $(File { name: $name, text: include_str!(concat!("../../../filters/templates/", $folder, "/", $name)), what: $what },)+
            File { name: "tests/program-refused.dialog", text: include_str!("../../../filters/templates/tests/program-refused.dialog"), what: "what a client must hear, line by line" },
            File { name: "tests/others-pass.dialog", text: include_str!("../../../filters/templates/tests/others-pass.dialog"), what: "another one" },
        ]
    };
}

/// The folders of ours that a filter in this language is built with.
pub(super) fn folders(language: Language) -> [Folder; 2] {
    let beside = "wit/deps/wasmilter-filter";
    let (sdk, contract) = match language {
        Language::Rust => (RUST_SDK, "wit"),
        Language::C => (C_SDK, beside),
        Language::Js => (JS_SDK, beside),
        Language::Python => (PYTHON_SDK, beside),
    };
    [Folder { place: "sdk", files: sdk }, Folder { place: contract, files: CONTRACT }]
}

const CONTRACT: &[(&str, &str)] = below!("wit": "filter.wit");
const C_SDK: &[(&str, &str)] = below!("sdk-c": "wasmilter.h", "wasmilter.c", "stages.c", "nowasi.c", "README.md");
const JS_SDK: &[(&str, &str)] = below!("sdk-js": "wasmilter.js", "wasmilter.d.ts", "README.md");
const PYTHON_SDK: &[(&str, &str)] = below!("sdk-python": "wasmilter.py", "README.md");

const RUST_SDK: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../../../filters/templates/rust/sdk/Cargo.toml")),
    ("src/about.rs", include_str!("../../../filters/sdk/src/about.rs")),
    ("src/alloc.rs", include_str!("../../../filters/sdk/src/alloc.rs")),
    ("src/bindings.rs", include_str!("../../../filters/sdk/src/bindings.rs")),
    ("src/capabilities.rs", include_str!("../../../filters/sdk/src/capabilities.rs")),
    ("src/export.rs", include_str!("../../../filters/sdk/src/export.rs")),
    ("src/lib.rs", include_str!("../../../filters/sdk/src/lib.rs")),
    ("src/message.rs", include_str!("../../../filters/sdk/src/message.rs")),
    ("src/session.rs", include_str!("../../../filters/sdk/src/session.rs")),
    ("src/text.rs", include_str!("../../../filters/sdk/src/text.rs")),
    ("src/verdict.rs", include_str!("../../../filters/sdk/src/verdict.rs")),
    ("src/zip.rs", include_str!("../../../filters/sdk/src/zip.rs")),
];

/// The files a new filter begins with.
pub(super) fn template(language: Language) -> &'static [File] {
    match language {
        Language::Rust => template! { "rust":
            "src/lib.rs", "the filter";
            "filter.toml", "its name, and what it is granted while it is tested";
            "README.md", "what is what, and what to type";
            "Cargo.toml", "for cargo";
            ".cargo/config.toml", "how cargo makes a component";
            ".gitignore", "what is made, and not kept";
        },
        Language::C => template! { "c":
            "src/filter.c", "the filter";
            "wit/world.wit", "the stages it wants to see";
            "filter.toml", "its name, and what it is granted while it is tested";
            "README.md", "what is what, and what to type";
            "compile_flags.txt", "for editors";
            ".gitignore", "what is made, and not kept";
        },
        Language::Js => template! { "js":
            "src/filter.js", "the filter";
            "wit/world.wit", "the stages it wants to see, and what it calls";
            "filter.toml", "its name, and what it is granted while it is tested";
            "README.md", "what is what, and what to type";
            "package.json", "for npm: what makes a component of it";
            ".gitignore", "what is made, and not kept";
        },
        Language::Python => template! { "python":
            "src/filter.py", "the filter";
            "wit/world.wit", "the stages it wants to see, and what it calls";
            "filter.toml", "its name, and what it is granted while it is tested";
            "README.md", "what is what, and what to type";
            "requirements.txt", "for pip: what makes a component of it";
            ".gitignore", "what is made, and not kept";
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::path::Path;

    use super::*;

    /// A file that is added to an SDK has to be added here as well.
    #[test]
    fn every_file_of_the_sdks_is_here() {
        let filters = Path::new(env!("CARGO_MANIFEST_DIR")).join("filters");
        let listed = |folder: &str| {
            let mut found: Vec<String> = std::fs::read_dir(filters.join(folder))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            found.sort();
            found
        };
        let mut rust: Vec<&str> = RUST_SDK.iter().filter_map(|(name, _)| name.strip_prefix("src/")).collect();
        rust.sort_unstable();
        assert_eq!(listed("sdk/src"), rust);
        assert_eq!(listed("wit"), ["filter.wit"]);
        for (folder, files) in [("sdk-c", C_SDK), ("sdk-js", JS_SDK), ("sdk-python", PYTHON_SDK)] {
            let mut names: Vec<&str> = files.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            let mut shipped = listed(folder);
            // What tests them stays here.
            shipped.retain(|name| !name.contains("test") && !name.starts_with('_') && name != "package.json");
            assert_eq!(shipped, names, "{folder}");
        }
    }

    /// The crate in a new folder asks for the dependencies that the crate here is tested with.
    #[test]
    fn the_crate_in_a_new_folder_has_the_dependencies_of_ours() {
        let parse = |text: &str| text.parse::<toml::Table>().unwrap();
        let ours = parse(include_str!("../../../filters/Cargo.toml"));
        let theirs = parse(RUST_SDK.first().unwrap().1);
        for (name, wanted) in theirs["dependencies"].as_table().unwrap() {
            let version = |value: &toml::Value| value.get("version").unwrap_or(value).clone();
            assert_eq!(version(&ours["workspace"]["dependencies"][name]), version(wanted), "{name}");
        }
    }
}
