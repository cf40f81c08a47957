package signedout

import (
	"encoding/binary"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// begins are the packets that begin a connection to 169.254.169.254, as a program of the kernel's BPF that counts from the IP
// header.
var begins = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 16},                 // destination
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 5, K: 0xa9fea9fe}, // 169.254.169.254
	{Code: unix.BPF_LDX | unix.BPF_B | unix.BPF_MSH, K: 0},                 // length of the header
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_IND, K: 13},                 // TCP's flags
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0x12},              // SYN and ACK
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: 0x02},       // SYN alone
	{Code: unix.BPF_RET | unix.BPF_K, K: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// sniff notes when the first connection to the metadata service is begun from now on. The function that it returns ends it and
// says when that was; zero if there was none.
func (w *world) sniff() (first func() time.Time) {
	w.t.Helper()
	var fd int
	must(w.t, w.ns.Do(func() (err error) {
		protocol := binary.NativeEndian.Uint16(binary.BigEndian.AppendUint16(nil, unix.ETH_P_IP))
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, int(protocol))
		if err != nil {
			return err
		}
		program := unix.SockFprog{Len: uint16(len(begins)), Filter: &begins[0]}
		return errors.Join(err, unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &program))
	}))
	socket := os.NewFile(uintptr(fd), "packets")
	begun := make(chan time.Time, 1)
	go func() {
		defer close(begun)
		if _, err := socket.Read(make([]byte, 1)); err == nil {
			begun <- time.Now()
		}
	}()
	return func() time.Time {
		defer socket.Close()
		if err := socket.SetReadDeadline(time.Now()); err != nil {
			w.t.Error(err)
		}
		return <-begun
	}
}
