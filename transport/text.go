package transport

// texts keeps strings that come again and again, so that they are made once:
// ops, servers and nodes. It belongs to one goroutine; a nil one keeps nothing.
type texts struct{ known map[string]string }

// maxTexts bounds what others can have it keep; then it begins anew.
const maxTexts = 4096

func (t *texts) get(b []byte) string {
	if t == nil {
		return string(b)
	}
	if s, ok := t.known[string(b)]; ok {
		return s
	}
	if t.known == nil || len(t.known) >= maxTexts {
		t.known = make(map[string]string)
	}
	s := string(b)
	t.known[s] = s
	return s
}
