// Package natsserver runs a nats-server inside this process. Besides the
// command it is the only room that links nats-server.
//
// nats-server's own Start ends the process on some faults, an occupied port
// among them. Here every such fault is an error of [Start] instead.
package natsserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrInUse means that another server has the store directory open. It is
// free once that has ended, or its process has.
var ErrInUse = errors.New("another NATS server has it open")

// Server is a running nats-server. It is a nats.InProcessConnProvider, so that
// nats.Connect("", nats.InProcessServer(s)) reaches it without a socket.
//
// Its goroutines are nats-server's own; Shutdown ends them and waits.
type Server struct {
	nats *server.Server
	log  *bridge

	listens  bool
	events   string // the subject of disconnect events; empty for none
	tempDir  string
	lock     *os.File // of a store directory that is not temporary
	stopOnce sync.Once
	stopped  chan struct{} // closed when the last goroutine of nats-server has ended
	stopErr  error         // set before stopped is closed
}

// Start starts a server and returns when it takes connections and, with
// Options.JetStream, when the streams in its store directory are recovered.
// That takes milliseconds with an empty directory.
//
// An error leaves nothing behind: no goroutine, no listener, no temporary
// directory. If ctx ends first, Start stops what it began, waits for that, and
// returns the context's error.
func Start(ctx context.Context, o Options) (*Server, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	if err := o.probePort(); err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	tempDir, lock, err := o.prepareStoreDir()
	if err != nil {
		return nil, fmt.Errorf("start NATS server: %w", err)
	}
	s, err := create(o, tempDir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start NATS server: %w", err), removeDir(tempDir), unlock(lock))
	}
	s.lock = lock
	if err := s.run(ctx); err != nil {
		// The context may have ended; nothing may be left behind even so.
		return nil, errors.Join(fmt.Errorf("start NATS server: %w", err), s.Shutdown(context.WithoutCancel(ctx)))
	}
	return s, nil
}

func create(o Options, tempDir string) (*Server, error) {
	ns, err := server.NewServer(o.natsOptions())
	if err != nil {
		return nil, err
	}
	s := &Server{
		nats:    ns,
		log:     newBridge(o.Logger),
		listens: !o.DontListen,
		events:  o.DisconnectEvents,
		tempDir: tempDir,
		stopped: make(chan struct{}),
	}
	ns.SetLoggerV2(s.log, false, false, false)
	return s, nil
}

// run returns when nats-server is up, has met a fault, or ctx has ended.
func (s *Server) run(ctx context.Context) error {
	started := make(chan struct{})
	go func() {
		defer close(started)
		s.nats.Start()
	}()
	select {
	case <-started:
	case <-ctx.Done():
		s.nats.Shutdown()
		<-started
		return ctx.Err()
	}
	if fault := s.log.fault(); fault != nil {
		return fault
	}
	if s.listens && s.nats.Addr() == nil {
		return errors.New("the server ended while it was starting")
	}
	if s.events != "" {
		return tellDisconnects(s.nats, s.events)
	}
	return nil
}

// ClientURL is the address for clients, such as nats://127.0.0.1:4222; empty
// with Options.DontListen.
func (s *Server) ClientURL() string {
	if !s.listens {
		return ""
	}
	return s.nats.ClientURL()
}

// ID is the server's id, new with each start; it is what nats.go's
// ConnectedServerId returns.
func (s *Server) ID() string { return s.nats.ID() }

// StoreDir is where JetStream keeps its files; empty without JetStream.
func (s *Server) StoreDir() string {
	if cfg := s.nats.JetStreamConfig(); cfg != nil {
		return cfg.StoreDir
	}
	return ""
}

// Exclusive reports whether nobody else can have this server's store directory
// open: it is a temporary one, or locked.
func (s *Server) Exclusive() bool { return s.tempDir != "" || s.lock != nil }

// InProcessConn is a new connection to the server within this process.
// It fails once Shutdown was called.
func (s *Server) InProcessConn() (net.Conn, error) {
	conn, err := s.nats.InProcessConn()
	if err != nil {
		return nil, fmt.Errorf("connect to the embedded NATS server: %w", err)
	}
	return conn, nil
}

// Shutdown closes every connection, writes JetStream's state and waits until
// all of the server's goroutines have ended. It may be called many times and
// at once; each call waits for the same end.
//
// If ctx ends first, its error is returned and the stop goes on by itself; call
// again to go on waiting.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopOnce.Do(func() {
		go func() {
			defer close(s.stopped)
			s.nats.Shutdown()
			s.nats.WaitForShutdown()
			s.stopErr = errors.Join(removeDir(s.tempDir), unlock(s.lock))
		}()
	})
	select {
	case <-s.stopped:
		return s.stopErr
	case <-ctx.Done():
		return fmt.Errorf("stop NATS server: %w", ctx.Err())
	}
}

func removeDir(dir string) error {
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}
