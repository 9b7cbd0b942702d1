package genserver

// Message is what servers exchange. Op names the operation; it must be a
// constant of the type, and it travels as the payload's tag (see [Tag]) where a
// payload is all there is.
//
// A message's kind and its reply are part of its Go type: embed [Returns],
// [OneWay] or [Signal].
type Message interface {
	Op() string
}

// CallMessage is a [Message] that is answered by a Rep: one that embeds
// Returns[Rep], or a [Map], which is answered by a Map.
type CallMessage[Rep any] interface {
	Message
	returns() Rep
}

// CastMessage is a [Message] without an answer: one that embeds [OneWay], or a [Map].
type CastMessage interface {
	Message
	oneWay()
}

// InfoMessage is a [Message] for HandleInfo, a timer's or an internal notice:
// one that embeds [Signal], or a [Map].
type InfoMessage interface {
	Message
	signal()
}

// Returns is embedded by a message that is a call answered by a Rep.
//
//	type Acquire struct {
//		genserver.Returns[Grant]
//		N int `json:"n,omitempty"`
//	}
type Returns[Rep any] struct{}

func (Returns[Rep]) returns() (rep Rep) { return rep }

// OneWay is embedded by a message that is a cast.
type OneWay struct{}

func (OneWay) oneWay() {} //nolint:unused // promoted to those who embed it

// Signal is embedded by a message that is an info: a timer's, or a notice of
// the runtime.
type Signal struct{}

func (Signal) signal() {}

// Map is a whole payload without a Go type of its own. It is a call, a cast
// and an info alike, and a handler of Map is its kind's fallback for every op
// without a handler of its own. Numbers that came over the network are
// int64, uint64 or float64.
type Map map[string]any

// Op is the value under [DefaultTag], or "" when that is no string. A Type
// with another [Tag] looks there instead.
func (m Map) Op() string { return m.op(DefaultTag) }

func (m Map) op(tag string) string {
	op, _ := m[tag].(string)
	return op
}

func (Map) returns() Map { return nil }
func (Map) oneWay()      {}
func (Map) signal()      {}

// Kind tells the three ways a message can arrive.
type Kind uint8

// The kinds, in the order of the wire protocol's numbers.
const (
	KindCall Kind = iota + 1
	KindCast
	KindInfo
)

// String is the kind's word in spans, logs and the wire protocol's page.
func (k Kind) String() string {
	switch k {
	case KindCall:
		return "call"
	case KindCast:
		return "cast"
	case KindInfo:
		return "info"
	default:
		return "unknown"
	}
}
