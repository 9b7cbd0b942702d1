//go:build unix

// Package proctest runs a test's own binary in other roles, as processes of
// their own, for tests that kill and freeze them.
package proctest

import (
	"bufio"
	"bytes"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// Process is a child of the test: this very binary in another role. It ends with
// the test, and when the test's process does.
type Process struct {
	life  string // what it's called
	cmd   *exec.Cmd
	up    chan struct{} // closed when it says that it's ready
	ended chan error    // buffered; what Wait returned

	mu  sync.Mutex
	log bytes.Buffer
}

// ready is the line by which a child says that it is.
const ready = "ready"

// Start returns when the child says that it is ready. life is what it's called in
// errors, env goes to it besides the test's own environment.
func Start(t *testing.T, life string, env []string) *Process {
	t.Helper()
	p := Launch(t, life, env)
	select {
	case <-p.up:
	case <-time.After(time.Minute):
		t.Fatalf("start of %s: got nothing in a minute; it said\n%s", life, p.Said())
	case err := <-p.ended:
		p.ended <- err
		t.Fatalf("start of %s: it ended with %v; it said\n%s", life, err, p.Said())
	}
	return p
}

// Launch is [Start] for those who don't wait until the child is ready.
func Launch(t *testing.T, life string, env []string) *Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &Process{life: life, cmd: exec.Command(self), up: make(chan struct{}), ended: make(chan error, 1)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = p
	if _, err := p.cmd.StdinPipe(); err != nil { // it ends when the test does
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", life, err)
	}
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if lines.Text() == ready {
				close(p.up)
			}
		}
		p.ended <- p.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // an error says that it has ended
		_ = p.Await(t)
	})
	return p
}

// Signal sends one.
func (p *Process) Signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("signal %s to %s: %v; it said\n%s", s, p.life, err, p.Said())
	}
}

// Await returns when the process has ended; one that does not is killed.
func (p *Process) Await(t *testing.T) error {
	t.Helper()
	select {
	case err := <-p.ended:
		p.ended <- err
		return err
	case <-time.After(time.Minute):
		t.Errorf("%s does not end; it said\n%s", p.life, p.Said())
		_ = p.cmd.Process.Kill()
		return <-p.ended
	}
}

// Gone reports whether the process has ended, or does before long.
func (p *Process) Gone(wait time.Duration) bool {
	select {
	case err := <-p.ended:
		p.ended <- err
		return true
	case <-time.After(wait):
		return false
	}
}

// Life is what the process is called.
func (p *Process) Life() string { return p.life }

// Write keeps what the process says.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// Said is the end of what it said on stderr.
func (p *Process) Said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	lines := strings.Split(p.log.String(), "\n")
	return strings.Join(lines[max(0, len(lines)-60):], "\n")
}

// FreePort is a port of the loopback interface that was free just now.
func FreePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
