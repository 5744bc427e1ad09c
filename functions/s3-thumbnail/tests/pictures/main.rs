//! Bytes in, thumbnails out: what everybody who uploads a picture may rely on.

mod damage;
mod hostile;
mod planes;
mod rendering;
mod samples;
