package natsserver

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/nats-io/nats-server/v2/server"
)

// Options say how to run a server. The zero value listens on a free port of the
// loopback interface, without JetStream and without logs.
type Options struct {
	// Host is the address to listen on. Default 127.0.0.1.
	Host string
	// Port is the port to listen on; 0, the default, takes a free one.
	Port int
	// DontListen opens no port at all: only InProcessConn reaches the server.
	DontListen bool
	// ServerName is the name other servers and monitoring see. Default: the
	// server's random id.
	ServerName string
	// JetStream turns persistence on.
	JetStream bool
	// StoreDir is JetStream's directory; it is made if absent and must belong to
	// this server alone. Default: a temporary directory, removed by Shutdown, so
	// that nothing outlives the server.
	StoreDir string
	// SyncAlways has JetStream flush each write to disk before it is
	// acknowledged: slower, and safe from a power failure. Default: the operating
	// system decides, and nats-server flushes every two minutes.
	SyncAlways bool
	// MaxPayload is the largest message in bytes. Default 1 MiB.
	MaxPayload int
	// DisconnectEvents is a subject to which the server, and no client, publishes a
	// notice of each connection that has ended. A client that is silent is then
	// asked whether it is there, and dropped within two seconds. Default: none.
	DisconnectEvents string
	// Logger gets the server's errors and warnings at their level and its
	// notices at debug. Default: none.
	Logger *slog.Logger
}

func (o *Options) check() error {
	if o.Host == "" {
		o.Host = "127.0.0.1"
	}
	switch {
	case o.Port < 0 || o.Port > 65535:
		return fmt.Errorf("port %d: want 0 (any free one) to 65535", o.Port)
	case o.MaxPayload < 0 || o.MaxPayload > server.MAX_PAYLOAD_MAX_SIZE*8:
		return fmt.Errorf("max payload of %d bytes: want 0 (1 MiB) to 64 MiB", o.MaxPayload)
	case o.StoreDir != "" && !o.JetStream:
		return errors.New("a store directory is set, but JetStream is off")
	}
	return nil
}

// probePort finds an occupied port before nats-server does, for an error
// without its wrapping. Another process can still take the port right after;
// then the bridge has nats-server's own words for it.
func (o *Options) probePort() error {
	if o.DontListen {
		return nil
	}
	l, err := net.Listen("tcp", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)))
	if err != nil {
		var op *net.OpError
		if errors.As(err, &op) && op.Err != nil {
			return fmt.Errorf("listen %s: %w", net.JoinHostPort(o.Host, strconv.Itoa(o.Port)), causeOf(op.Err))
		}
		return fmt.Errorf("listen: %w", err)
	}
	return l.Close()
}

// causeOf drops the system call's name from an error such as "bind: address
// already in use".
func causeOf(err error) error {
	var sys *os.SyscallError
	if errors.As(err, &sys) {
		return sys.Err
	}
	return err
}

// prepareStoreDir makes sure that JetStream can write where it should. The
// directory it returns is ours to remove; empty if it is the user's. Until lock
// is closed no other server of this package opens the directory; it is nil where
// none is needed or there is no such thing.
func (o *Options) prepareStoreDir() (tempDir string, lock *os.File, err error) {
	if !o.JetStream {
		return "", nil, nil
	}
	if o.StoreDir == "" {
		if o.StoreDir, err = os.MkdirTemp("", "civitas-nats-"); err != nil {
			return "", nil, fmt.Errorf("temporary store directory: %w", err)
		}
		return o.StoreDir, nil, nil
	}
	if err := os.MkdirAll(o.StoreDir, 0o750); err != nil {
		return "", nil, fmt.Errorf("store directory: %w", err)
	}
	probe, err := os.CreateTemp(o.StoreDir, ".writable-")
	if err != nil {
		return "", nil, fmt.Errorf("store directory %s is not writable: %w", filepath.Clean(o.StoreDir), err)
	}
	if err := errors.Join(probe.Close(), os.Remove(probe.Name())); err != nil {
		return "", nil, err
	}
	lock, err = lockDir(o.StoreDir)
	return "", lock, err
}

func (o *Options) natsOptions() *server.Options {
	port := o.Port
	if port == 0 {
		port = server.RANDOM_PORT
	}
	opts := &server.Options{
		Host:       o.Host,
		Port:       port,
		DontListen: o.DontListen,
		ServerName: o.ServerName,
		JetStream:  o.JetStream,
		StoreDir:   o.StoreDir,
		SyncAlways: o.SyncAlways,
		MaxPayload: int32(o.MaxPayload), //nolint:gosec // check has bounded it
		NoLog:      true,                // the bridge is the logger
		NoSigs:     true,                // signals are the program's
	}
	if o.DisconnectEvents != "" {
		guard(opts, o.DisconnectEvents)
	}
	return opts
}
