//! What must happen by the clock.
//!
//! Each minute, what is due and not moving is woken: a message whose wake-up was lost, that waited for a circuit or for its
//! turn, or whose sender died. Which lists there are, who works them off and how fast, the schedule in `template.yaml` says;
//! this function knows no list and looks at no item.

pub mod config;
pub mod handler;

pub use config::Config;
pub use handler::Handler;
