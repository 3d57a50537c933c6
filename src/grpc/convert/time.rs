//! Converts times and durations to the well-known types of protobuf.

use std::time::Duration;

use jiff::Timestamp;

pub(in crate::grpc) fn to_timestamp(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// Converts a duration. Returns `None` if protobuf cannot hold it: more than 2^63 seconds.
pub(super) fn to_duration(duration: Duration) -> Option<prost_types::Duration> {
    duration.try_into().ok()
}
