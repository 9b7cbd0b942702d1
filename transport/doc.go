// Package transport carries messages between nodes, and between plain clients
// and public servers.
//
// It has four layers, each usable without the ones above it:
//
//   - [Subjects] says where everything is.
//   - [Conn] is the seam to a message broker. [NATS] is the real one, [Hub]
//     the one in memory for tests in virtual time; package transporttest
//     holds what both promise.
//   - [Frame] and [Reply] are the bytes between nodes, [MsgPack] and [JSON]
//     the encodings of payloads.
//   - [Request], [Publish], [ServeNode] and [ServePublic] turn a
//     genserver.Outgoing on one side into a genserver.Incoming on the other.
//
// A call between nodes goes Request, Conn, ServeNode, and its answer back
// through the Replier of the Incoming. Nothing here knows who owns a name:
// package node chooses the subject.
//
// Messages of one Conn to one subscription arrive in the order they were
// sent. Every message arrives at most once. Bytes from the network are never
// trusted: whatever decodes them has limits and a fuzz target.
package transport
