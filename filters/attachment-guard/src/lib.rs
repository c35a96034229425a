//! Refuses messages by the names, types and contents of their attachments.
//!
//! Stage: message. Grants: `mime = true`. A message whose MIME structure is beyond the bounds of the host is
//! refused with 554 5.6.0. Settings:
//!
//! ```toml
//! [filter.settings]
//! # Refused endings of file names, lower case. Hiding them does not help: capitals, blanks, dots and invisible
//! # characters at the end, another ending before. Default: what Windows and macOS run when it is opened.
//! extensions = ["exe", "js", "scr"]
//! # Whether they are also refused further inside a name ("a.exe.txt"). Default: false.
//! anywhere = false
//! # Refused media types; "audio/*" is all of them. Default: those of programs.
//! media-types = ["application/x-msdownload"]
//! # Whether Windows programs are refused by their first octets, whatever they are called. Default: true.
//! programs = true
//! # Whether the names inside ZIP archives are judged too; an archive that cannot be listed is then refused.
//! # Default: false.
//! archives = false
//! # What the client is told; {name} is the attachment's. Default: as here.
//! text = "Attachment {name} is not accepted here"
//! ```

use serde::Deserialize;
use wasmilter_filter::*;

const EXTENSIONS: &str = "ade adp apk app appcontent-ms application appref-ms appx appxbundle bat cab chm cmd com \
    cpl diagcab dll dmg exe gadget hlp hta img ins iso isp jar jnlp js jse lnk mde msc msi msix msixbundle msp mst \
    nsh pif pkg ps1 reg scf scr sct settingcontent-ms shb sys vb vbe vbs vhd vhdx vxd wsc wsf wsh xll";
const MEDIA_TYPES: &str = "application/hta application/java-archive application/vnd.microsoft.portable-executable \
    application/x-dosexec application/x-ms-installer application/x-msdos-program application/x-msdownload";
/// Characters of a file name that go into the reply.
const NAME_CHARS_MAX: usize = 80;

#[derive(Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Settings {
    extensions: Vec<String>,
    anywhere: bool,
    media_types: Vec<String>,
    programs: bool,
    archives: bool,
    text: String,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            extensions: EXTENSIONS.split_ascii_whitespace().map(str::to_owned).collect(),
            anywhere: false,
            media_types: MEDIA_TYPES.split_ascii_whitespace().map(str::to_owned).collect(),
            programs: true,
            archives: false,
            text: "Attachment {name} is not accepted here".to_owned(),
        }
    }
}

impl Settings {
    /// As the operator may have written them, and as they are compared.
    fn tidy(&mut self) {
        for word in self.extensions.iter_mut().chain(&mut self.media_types) {
            *word = word.trim_start_matches('.').to_ascii_lowercase();
        }
    }
}

#[derive(Default)]
struct AttachmentGuard(Settings);

impl Filter for AttachmentGuard {
    fn about() -> About {
        About::new(env!("CARGO_PKG_VERSION"), "refuses messages by names, types and contents of attachments")
            .settings(include_str!("../settings.json"))
    }

    fn init(&mut self) -> Result<(), String> {
        self.0 = config()?;
        self.0.tidy();
        Ok(())
    }

    fn message(&mut self, mail: &Message) -> Verdict {
        let Some((part, why)) = mail.parts().iter().find_map(|part| Some((part, self.objection(part)?))) else {
            return next();
        };
        let name: String = text::ascii(part.name()).chars().take(NAME_CHARS_MAX).collect();
        let name = if name.is_empty() { "without a name" } else { &name };
        reject("5.7.1", self.0.text.replace("{name}", name)).because(format!("{name}: {why}"))
    }
}

impl AttachmentGuard {
    /// Why this part is refused.
    fn objection(&self, part: &Part) -> Option<String> {
        if self.0.media_types.iter().any(|refused| is_type(part.media_type(), refused)) {
            return Some(format!("media type {}", part.media_type()));
        }
        if let Some(ending) = self.refused_ending(part.name()) {
            return Some(format!("a name with .{ending}"));
        }
        if part.size() == 0 || part.media_type().starts_with("text/") && !part.is_attachment() {
            return None;
        }
        if self.0.programs && part.read(0, 2) == b"MZ" {
            return Some("a Windows program".to_owned());
        }
        if !self.0.archives || !part.is_zip() {
            return None;
        }
        match part.zip_names() {
            Some(names) => names.iter().find_map(|name| self.refused_ending(name)).map(|it| format!("holds a .{it}")),
            None => Some("an archive that cannot be listed".to_owned()),
        }
    }

    fn refused_ending(&self, name: &str) -> Option<String> {
        let is_refused = |ending: &String| self.0.extensions.contains(ending);
        if self.0.anywhere { text::extensions(name).find(is_refused) } else { text::endings(name).find(is_refused) }
    }
}

fn is_type(media_type: &str, refused: &str) -> bool {
    match refused.strip_suffix('*') {
        Some(start) => media_type.starts_with(start),
        None => media_type == refused,
    }
}

export!(AttachmentGuard: about, init, message);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_what_they_end_in() {
        let mut guard = AttachmentGuard(Settings { extensions: vec![".EXE".to_owned()], ..Settings::default() });
        guard.0.tidy();
        assert_eq!(guard.refused_ending("a.pdf.ExE . ").as_deref(), Some("exe"));
        assert_eq!(guard.refused_ending("a.exe.pdf"), None);
        guard.0.anywhere = true;
        assert_eq!(guard.refused_ending("a.exe.pdf").as_deref(), Some("exe"));
        assert!(is_type("audio/mpeg", "audio/*") && is_type("a/b", "a/b") && !is_type("a/bc", "a/b"));
    }
}
