//! The project's own commands, as a library so that the end-to-end tests start the system through the very code of
//! `cargo up`.
//!
//! [`up`] reads `template.yaml` (module `template`), creates what that file describes on a local AWS
//! (`deploy`, over the plain client in `aws`) and puts a front door (`door`) before the HTTP API. Providers and
//! functions are known from the template alone; only the smoke tour of `cargo up --check` calls one by name. [`thumbnails`]
//! does to a folder what `s3-thumbnail` does to a bucket.
//! With the feature `stages`, `stage` checks what the stages of an account are deployed with, `restore` puts a backup back, and
//! `forget` takes away what is kept of a person.

mod aws;
mod deploy;
mod door;
#[cfg(feature = "stages")]
pub mod forget;
mod local;
#[cfg(feature = "stages")]
mod own_aws;
#[cfg(feature = "stages")]
pub mod restore;
#[cfg(feature = "stages")]
pub mod stage;
mod template;
pub mod thumbnails;
pub mod up;

#[cfg(feature = "stages")]
pub use own_aws::OwnAwsError;
