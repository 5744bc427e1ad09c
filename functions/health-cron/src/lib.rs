//! What must happen by the clock.
//!
//! Every five minutes each function is asked how its providers are; what they say is kept, and whoever has subscribed is told
//! when it changes. Each minute, what is due and not moving is woken: a message whose wake-up was lost, that waited for a circuit or for its
//! turn, or whose sender died. Which lists there are, who works them off and how fast, the schedule in `template.yaml` says;
//! this function knows no list and looks at no item.

pub mod backups;
pub mod check;
pub mod config;
pub mod handler;
pub mod message;
pub mod outside;
mod secrets;
pub mod watch;

pub use config::Config;
pub use handler::Handler;
