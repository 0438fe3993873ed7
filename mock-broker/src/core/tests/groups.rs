//! Classic groups. Pure.

mod answers;
mod barriers;
mod commits;
mod coordinators;
mod forgetting;
mod members;
mod schedules;
mod sessions;
mod statics;
