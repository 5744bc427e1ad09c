//! The ICC profile around a table, for tests: of the pipeline, of its colours, and for what is damaged on purpose.

/// A profile of ICC version `version`.4 whose perceptual table is `table`.
pub fn profile(version: u8, table: &[u8]) -> Vec<u8> {
    let length = |bytes: usize| u32::try_from(bytes).expect("short").to_be_bytes();
    let mut profile = length(144 + table.len()).to_vec();
    profile.extend([0, 0, 0, 0, version, 0x40, 0, 0]);
    profile.extend(b"prtrCMYKLab ");
    profile.extend([0; 12]);
    profile.extend(b"acsp");
    profile.resize(68, 0);
    profile.extend(b"\0\0\xf6\xd6\0\x01\0\0\0\0\xd3\x2d");
    profile.resize(128, 0);
    profile.extend(b"\0\0\0\x01A2B0\0\0\0\x90");
    profile.extend(length(table.len()));
    profile.extend(table);
    profile
}
