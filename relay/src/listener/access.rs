//! Who may connect, publish and subscribe.

use gaitway_proto::topic::{AgentId, Up, down};
use gaitway_service::secret::Secret;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Publish};
use rumqttc::mqttbytes::{Protocol, QoS};
use subtle::ConstantTimeEq as _;

/// What a CONNECT must say, by where the connection came in.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// Whoever comes is who they say.
    Open,
    /// Whoever knows the word, which is new at each start of the process, is who they say.
    Word(Secret),
    /// It is this agent, by its certificate.
    Certified(AgentId),
}

/// Who a connection was proven to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// The agent.
    pub agent: AgentId,
}

/// Why a CONNECT is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub(super) struct Refusal {
    /// For the client.
    pub code: ConnectReturnCode,
    why: &'static str,
}

const fn refusal(code: ConnectReturnCode, why: &'static str) -> Refusal {
    Refusal { code, why }
}

pub(super) const PROTOCOL: Refusal = refusal(ConnectReturnCode::RefusedProtocolVersion, "not MQTT 3.1.1");
pub(super) const TAKEOVERS: Refusal =
    refusal(ConnectReturnCode::ServiceUnavailable, "several agents use this id: taken over three times in a minute");
pub(super) const FULL: Refusal =
    refusal(ConnectReturnCode::ServiceUnavailable, "as many agents as may be are connected");
const CLIENT_ID: Refusal = refusal(ConnectReturnCode::BadClientId, "client id is not an agent id");
const OTHER_ID: Refusal = refusal(ConnectReturnCode::BadClientId, "client id is not the certificate's agent");
const WILL: Refusal = refusal(ConnectReturnCode::NotAuthorized, "wills are not taken");
const PERSISTENT: Refusal = refusal(ConnectReturnCode::NotAuthorized, "only clean sessions are taken");
const USER_NAME: Refusal = refusal(ConnectReturnCode::BadUserNamePassword, "user name is not the agent's id");
const PASSWORD: Refusal = refusal(ConnectReturnCode::BadUserNamePassword, "password is wrong");

impl Access {
    /// Who the client is.
    pub(super) fn authenticate(&self, connect: &Connect) -> Result<Identity, Refusal> {
        if connect.protocol != Protocol::V4 {
            return Err(PROTOCOL);
        }
        let agent = match self {
            Self::Certified(agent) if connect.client_id.is_empty() || connect.client_id == agent.as_str() => {
                agent.clone()
            }
            Self::Certified(_) => return Err(OTHER_ID),
            Self::Open | Self::Word(_) => connect.client_id.parse().map_err(|_| CLIENT_ID)?,
        };
        if connect.last_will.is_some() {
            return Err(WILL);
        }
        if !connect.clean_session {
            return Err(PERSISTENT);
        }
        let (user, password) =
            connect.login.as_ref().map_or(("", ""), |login| (login.username.as_str(), login.password.as_str()));
        if !user.is_empty() && user != agent.as_str() {
            return Err(USER_NAME);
        }
        match self {
            Self::Word(word) if !bool::from(password.as_bytes().ct_eq(word.reveal().as_bytes())) => Err(PASSWORD),
            _ => Ok(Identity { agent }),
        }
    }
}

impl Identity {
    /// What `publish` carries, if this agent may publish it.
    pub(super) fn may_publish(&self, publish: &Publish) -> Result<Up, &'static str> {
        if publish.qos != QoS::AtLeastOnce {
            return Err("quality of service other than 1");
        }
        if publish.retain {
            return Err("retained message");
        }
        Up::parse(&publish.topic, &self.agent).ok_or("topic not below the agent's own up/")
    }

    /// Whether this agent may subscribe to `filter`: exactly its own topic.
    pub(super) fn may_subscribe(&self, filter: &str) -> bool {
        filter == down(&self.agent)
    }
}

#[cfg(test)]
mod tests {
    use rumqttc::mqttbytes::v4::LastWill;

    use super::*;

    fn connect(id: &str) -> Connect {
        Connect::new(id)
    }

    #[test]
    fn the_client_id_is_an_agent_id_and_the_user_name() {
        assert_eq!(Access::Open.authenticate(&connect("pi")).unwrap().agent.as_str(), "pi");
        for bad in ["", "Pi", "a/b", "#", "+", "$share", "ü"] {
            assert_eq!(Access::Open.authenticate(&connect(bad)), Err(CLIENT_ID), "{bad}");
        }
        let mut other = connect("pi");
        other.set_login("pi2", "x");
        assert_eq!(Access::Open.authenticate(&other), Err(USER_NAME));
    }

    #[test]
    fn who_has_a_certificate_is_its_agent_and_says_nothing_else() {
        let access = Access::Certified("pi".parse().unwrap());
        let with = |id: &str, user: &str| {
            let mut connect = connect(id);
            connect.set_login(user, "whatever");
            access.authenticate(&connect).map(|identity| identity.agent.to_string())
        };
        for (id, user) in [("pi", "pi"), ("", "pi"), ("pi", ""), ("", "")] {
            assert_eq!(with(id, user).as_deref(), Ok("pi"), "{id} {user}");
        }
        assert_eq!(with("pi2", "pi"), Err(OTHER_ID));
        assert_eq!(with("#", ""), Err(OTHER_ID));
        assert_eq!(with("", "pi2"), Err(USER_NAME));
    }

    #[test]
    fn where_there_is_a_word_it_must_be_known() {
        let access = Access::Word(Secret::new("open sesame"));
        let with = |password: &str| {
            let mut connect = connect("pi");
            connect.set_login("pi", password);
            access.authenticate(&connect)
        };
        assert!(with("open sesame").is_ok());
        for wrong in ["", "open", "open sesame!"] {
            assert_eq!(with(wrong), Err(PASSWORD));
        }
        assert_eq!(access.authenticate(&connect("pi")), Err(PASSWORD));
    }

    #[test]
    fn wills_persistent_sessions_and_other_versions_are_refused() {
        let open = Access::Open;
        let mut will = connect("pi");
        will.last_will = Some(LastWill::new("t", "m", QoS::AtMostOnce, false));
        assert_eq!(open.authenticate(&will), Err(WILL));
        let mut persistent = connect("pi");
        persistent.clean_session = false;
        assert_eq!(open.authenticate(&persistent), Err(PERSISTENT));
        let mut five = connect("pi");
        five.protocol = Protocol::V5;
        assert_eq!(open.authenticate(&five), Err(PROTOCOL));
    }

    #[test]
    fn an_agent_publishes_below_its_own_up_and_subscribes_to_its_own_down() {
        let pi = Identity { agent: "pi".parse().unwrap() };
        let publish = |topic: &str, qos, retain| {
            let mut publish = Publish::new(topic, qos, "");
            publish.retain = retain;
            pi.may_publish(&publish)
        };
        assert_eq!(publish("gaitway/v1/pi/up/raw", QoS::AtLeastOnce, false), Ok(Up::Raw));
        assert!(publish("gaitway/v1/pi/up/raw", QoS::AtMostOnce, false).is_err());
        assert!(publish("gaitway/v1/pi/up/raw", QoS::ExactlyOnce, false).is_err());
        assert!(publish("gaitway/v1/pi/up/raw", QoS::AtLeastOnce, true).is_err());
        for foreign in ["gaitway/v1/pi2/up/raw", "gaitway/v1/pi/down/ack", "$SYS/x", "ü", ""] {
            assert!(publish(foreign, QoS::AtLeastOnce, false).is_err(), "{foreign}");
        }
        assert!(pi.may_subscribe("gaitway/v1/pi/down/ack"));
        for foreign in ["gaitway/v1/pi2/down/ack", "gaitway/v1/+/down/ack", "gaitway/v1/pi/#", "#", "$share/g/#"] {
            assert!(!pi.may_subscribe(foreign), "{foreign}");
        }
    }
}
