//! The table of schedules: what runs by the clock.
