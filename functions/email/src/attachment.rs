//! Files that go along: how large, and what they really are. Pure.
//!
//! The type is read from the content, not from the name or from what the sender claims; what runs when it is opened is
//! refused by both, because a mailbox that blocks such a file blocks the whole mail, and thinks less of its sender.

use ieum::error::{BAD_FORMAT, Issue, TOO_LONG, issue};

use crate::address::is_unfit;

/// Decoded, in the body of one request.
pub const MAX_INLINE_BYTES: usize = 4 * 1024 * 1024;

/// All attachments of one mail.
pub const MAX_TOTAL_BYTES: usize = 10 * 1024 * 1024;

/// Attachments of one mail.
pub const MAX_ATTACHMENTS: usize = 20;

/// The longest file name, in bytes: more does not fit the file systems it is saved to.
const MAX_NAME: usize = 200;

/// The file is a program.
pub const EXECUTABLE: Issue =
    issue("executable", "실행 파일은 첨부할 수 없습니다.", "A file that can be run cannot be attached.");

/// The last part of a name that makes a desktop run the file
/// (after <https://support.google.com/mail/answer/6590>, what Gmail blocks).
const RUNS: [&str; 45] = [
    "ade",
    "adp",
    "apk",
    "appx",
    "appxbundle",
    "bat",
    "cab",
    "chm",
    "cmd",
    "com",
    "cpl",
    "diagcab",
    "diagcfg",
    "dll",
    "dmg",
    "ex",
    "ex_",
    "exe",
    "hta",
    "img",
    "ins",
    "iso",
    "isp",
    "jar",
    "jnlp",
    "js",
    "jse",
    "lib",
    "lnk",
    "mde",
    "msc",
    "msi",
    "msix",
    "msp",
    "mst",
    "nsh",
    "pif",
    "ps1",
    "scr",
    "sct",
    "shb",
    "sys",
    "vb",
    "vbs",
    "wsf",
];

/// A name that may stand in a header and in a folder.
///
/// # Errors
/// What is wrong with it.
pub fn name(text: &str) -> Result<String, Issue> {
    let text = text.trim();
    if text.len() > MAX_NAME {
        return Err(TOO_LONG);
    }
    if text.is_empty() || text.starts_with('.') || text.chars().any(|c| is_unfit(c) || matches!(c, '/' | '\\' | '"')) {
        return Err(BAD_FORMAT);
    }
    let extension = text.rsplit_once('.').map(|(_, extension)| extension.trim().to_ascii_lowercase());
    if extension.is_some_and(|extension| RUNS.contains(&extension.as_str())) {
        return Err(EXECUTABLE);
    }
    Ok(text.to_owned())
}

/// What a program begins with, where the library wants to see more of it or knows only some.
const PROGRAMS: [&[u8]; 7] = [
    b"MZ",
    b"\x7fELF",
    b"\xca\xfe\xba\xbe",
    b"\xfe\xed\xfa\xce",
    b"\xfe\xed\xfa\xcf",
    b"\xce\xfa\xed\xfe",
    b"\xcf\xfa\xed\xfe",
];

/// The media type of a content.
///
/// # Errors
/// [`EXECUTABLE`].
pub fn media_type(content: &[u8]) -> Result<&'static str, Issue> {
    // "MZ세대 설문" begins as programs do.
    let is_text =
        std::str::from_utf8(content).is_ok_and(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()));
    let is_program = infer::is_app(content) || PROGRAMS.iter().any(|program| content.starts_with(program));
    if content.starts_with(b"#!") || (is_program && !is_text) {
        return Err(EXECUTABLE);
    }
    match infer::get(content) {
        // Markup is text to whoever reads a mail: it must not be opened by a browser as ours.
        Some(known) if !is_program && !known.mime_type().starts_with("text/") => Ok(known.mime_type()),
        Some(_) | None => Ok(if is_text { "text/plain" } else { "application/octet-stream" }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_says_what_a_file_is() {
        for (content, media) in [
            (&b"%PDF-1.7\n"[..], "application/pdf"),
            (b"\x89PNG\r\n\x1a\n....", "image/png"),
            (b"PK\x03\x04....", "application/zip"),
            ("이름,금액\n홍길동,1000\n".as_bytes(), "text/plain"),
            ("MZ세대 설문".as_bytes(), "text/plain"),
            (b"<html><script>alert(1)</script>", "text/plain"),
            (b"\xff\x00\x01", "application/octet-stream"),
        ] {
            assert_eq!(media_type(content).map_err(|issue| issue.name), Ok(media));
        }
        for program in [&b"MZ\x90\x00"[..], b"\x7fELF\x02\x01", b"#!/bin/sh\n"] {
            assert_eq!(media_type(program).map_err(|issue| issue.name), Err("executable"));
        }
    }

    #[test]
    fn a_name_stays_one_name() {
        assert_eq!(name(" 기부금 영수증.pdf ").map_err(|issue| issue.name), Ok("기부금 영수증.pdf".to_owned()));
        for (bad, reason) in [
            ("", "bad_format"),
            (".profile", "bad_format"),
            ("../a.pdf", "bad_format"),
            ("a\r\nX: y.pdf", "bad_format"),
            ("receipt\u{202e}fdp.exe", "bad_format"),
            ("receipt.pdf.EXE", "executable"),
            ("run.js", "executable"),
        ] {
            assert_eq!(name(bad).map_err(|issue| issue.name), Err(reason), "{bad}");
        }
        assert_eq!(name(&"가".repeat(67)).map_err(|issue| issue.name), Err("too_long"));
    }
}
