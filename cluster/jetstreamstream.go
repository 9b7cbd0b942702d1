package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// streamFormat is the version of the stream's layout, kept in its metadata. A
// release that reads a newer one stops.
const (
	streamFormatKey = "civitas.format"
	streamFormat    = "1"
)

// streamConfig are the settings that the records' guarantees rest on.
func streamConfig(l layout, replicas int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        l.stream(),
		Description: "Civitas: the records of cluster " + l.Cluster(),
		Subjects:    []string{l.Records()},
		Storage:     jetstream.FileStorage,
		Replicas:    replicas,
		Retention:   jetstream.LimitsPolicy,
		// A record is the last message of its subject.
		MaxMsgsPerSubject: 1,
		Discard:           jetstream.DiscardOld,
		MaxMsgs:           -1,
		MaxBytes:          -1,
		// A follower's answer can be hundreds of writes old.
		AllowDirect: false,
		// Records go by a tombstone, which is compared and watched, or by an
		// operator's purge of a subject. Nothing else may remove them.
		DenyDelete:  true,
		DenyPurge:   false,
		AllowRollup: false,
		// For tombstones alone.
		AllowMsgTTL: true,
		// The sequence makes a repeated write harmless; ids only spare R3 a
		// comparison, so they need not be kept for long.
		Duplicates: 30 * time.Second,
		RePublish:  &jetstream.RePublish{Source: l.Records(), Destination: l.Republished()},
		Metadata:   map[string]string{streamFormatKey: streamFormat},
	}
}

// openStream finds the stream or makes it. Until ctx ends it tries again what
// fails because the servers are not ready.
func openStream(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, wait time.Duration) (jetstream.Stream, error) {
	for {
		stream, err := findOrCreate(ctx, js, want, wait)
		if err == nil {
			return stream, checkStream(stream.CachedInfo().Config, want)
		}
		if !passing(err) {
			return nil, err
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return nil, err
		}
	}
}

func findOrCreate(ctx context.Context, js jetstream.JetStream, want jetstream.StreamConfig, wait time.Duration) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	stream, err := js.Stream(ctx, want.Name)
	if !errors.Is(err, jetstream.ErrStreamNotFound) {
		return stream, err
	}
	stream, err = js.CreateStream(ctx, want)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another node was first, with other replicas
		return js.Stream(ctx, want.Name)
	}
	return stream, err
}

// What the servers say that is not in jetstream's list.
const (
	codeNoPeers             jetstream.ErrorCode = 10005
	codeClusterNotAvailable jetstream.ErrorCode = 10008
	codeClusterNoLeader     jetstream.ErrorCode = 10009
)

// passing reports whether an error at opening may go away by itself: no leader
// yet, or not all servers there.
func passing(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	var api *jetstream.APIError
	return errors.As(err, &api) &&
		(api.ErrorCode == codeClusterNotAvailable || api.ErrorCode == codeNoPeers || api.ErrorCode == codeClusterNoLeader)
}

// checkStream refuses a stream that is not as the records need it. Replicas,
// placement and limits of consumers are the operator's.
func checkStream(got, want jetstream.StreamConfig) error {
	var wrong []string
	expect := func(what string, got, want any) {
		if g, w := fmt.Sprint(got), fmt.Sprint(want); g != w {
			wrong = append(wrong, fmt.Sprintf("%s is %s, want %s", what, g, w))
		}
	}
	expect("subjects", got.Subjects, want.Subjects)
	expect("retention", got.Retention, want.Retention)
	expect("storage", got.Storage, want.Storage)
	expect("max messages per subject", got.MaxMsgsPerSubject, want.MaxMsgsPerSubject)
	expect("max messages", got.MaxMsgs, want.MaxMsgs)
	expect("max bytes", got.MaxBytes, want.MaxBytes)
	expect("max age", got.MaxAge, want.MaxAge)
	expect("no ack", got.NoAck, want.NoAck)
	expect("sealed", got.Sealed, want.Sealed)
	expect("allow direct", got.AllowDirect, want.AllowDirect)
	expect("allow rollup", got.AllowRollup, want.AllowRollup)
	expect("deny delete", got.DenyDelete, want.DenyDelete)
	expect("allow message TTL (nats-server 2.11 or newer has it)", got.AllowMsgTTL, want.AllowMsgTTL)
	expect("format", got.Metadata[streamFormatKey], want.Metadata[streamFormatKey])
	if got.RePublish == nil {
		expect("republish", "off", *want.RePublish)
	} else {
		expect("republish", *got.RePublish, *want.RePublish)
	}
	if wrong != nil {
		return fmt.Errorf("stream %s has other settings than the records need: %s", got.Name, strings.Join(wrong, "; "))
	}
	return nil
}

// explain turns the client's words for common faults into what to do.
func explain(err error, nc *nats.Conn) error {
	var api *jetstream.APIError
	switch {
	case errors.As(err, &api) && api.ErrorCode == codeNoPeers:
		return fmt.Errorf("the cluster of NATS servers has no three with JetStream that are up, which are to keep the records; "+
			"with fewer, make the node's Replicas 1: %w", err)
	case errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("JetStream is not enabled for this account on %s; add `jetstream: enabled` to the account: %w", serverOf(nc), err)
	case !nc.IsConnected() && !errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("not connected to NATS: %w", err)
	case errors.Is(err, jetstream.ErrNoStreamResponse):
		return fmt.Errorf("no server answers for the stream; it has no leader, or was removed: %w", err)
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, jetstream.ErrJetStreamNotEnabled):
		return fmt.Errorf("JetStream is not enabled on %s; start nats-server with -js: %w", serverOf(nc), err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer from JetStream on %s: %w", serverOf(nc), err)
	default:
		return err
	}
}

func serverOf(nc *nats.Conn) string {
	if url := nc.ConnectedUrlRedacted(); url != "" {
		return url
	}
	return "the NATS server"
}
