package transport

import (
	"encoding/binary"
	"fmt"
)

// Origin is by which right a server with a cluster-wide name has sent a message: the
// node's incarnation that owned the name then, and the epoch. The zero value is that of
// all others, who need none.
type Origin struct {
	Incarnation string
	Epoch       uint64
}

func (o Origin) append(dst []byte) []byte {
	if o.Epoch == 0 {
		return dst
	}
	var epoch [binary.MaxVarintLen64]byte
	n := binary.PutUvarint(epoch[:], o.Epoch)
	dst = append(dst, tagOrigin)
	dst = binary.AppendUvarint(dst, uint64(n+len(o.Incarnation)))
	dst = append(dst, epoch[:n]...)
	return append(dst, o.Incarnation...)
}

func (r *fieldReader) origin(known *texts) (o Origin, err error) {
	v := r.value()
	size := 0
	if o.Epoch, size = binary.Uvarint(v); size <= 0 || o.Epoch == 0 || len(v)-size > maxText {
		return Origin{}, fmt.Errorf("%w: field %d is no origin", ErrFrame, r.tag)
	}
	o.Incarnation = known.get(v[size:])
	return o, nil
}
