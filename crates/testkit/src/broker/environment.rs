//! The variables that choose another broker than a private node.

/// Names a broker that tests use instead of starting one.
pub const URL_VARIABLE: &str = "AEGIR_TEST_AMQP_URL";
/// Names an image, such as `aegir-rabbitmq:trixie`, of which tests start a container instead.
pub const IMAGE_VARIABLE: &str = "AEGIR_TEST_BROKER_IMAGE";
