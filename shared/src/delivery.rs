//! Delivery: accept once, send once, and know when unsure.
//!
//! A message is an item of the [`ledger`], and the ledger decides. Once the item is written the caller has a 202, and what
//! was accepted is not lost: the item is on a list of what is due until it has come to an end. A queue message is only a
//! wake-up; it may be late, lost, repeated or out of order. The [`worker`] acts on wake-ups, the sweep makes new ones for
//! what is due and not moving.
//!
//! The one thing nobody can repair is to send twice. So `sending` is written before each attempt, and a message that was
//! left there is *in doubt*: it is listed for a person, or settled by the provider's own later event, and never sent
//! again by itself. What outsiders do to it, reports and decisions, is in [`messages`]; who may be written to, and how
//! often, in [`recipients`].
//!
//! What comes in is kept in the same way. A webhook is an item of the [`inbox`], written before its sender hears 200;
//! [`webhooks`] receives and processes it. Processing may happen twice, because its effect is a merge, and what is told of
//! an effect goes through the [`outbox`].

pub mod inbox;
pub mod ledger;
pub mod messages;
pub mod outbox;
pub mod recipients;
pub mod webhooks;
pub mod worker;
