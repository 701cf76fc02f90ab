# A boot sector that does what a kernel does early: long mode, page tables, page faults, CR3 writes.
# Build: as --64 -o probe.o probe.s && ld -m elf_x86_64 --oformat binary -Ttext 0x7c00 -o probe.bin probe.o
# Memory: 0x10000 PML4, 0x11000 PDPT, 0x12000 PD, 0x13000 PT (for 2 MiB to 4 MiB), 0x14000 IDT.
.code16
.globl _start
_start:
    cli
    xor %ax, %ax
    mov %ax, %ds
    mov %ax, %ss
    mov $0x7c00, %sp
    mov $0x1000, %ax
    mov %ax, %es
    xor %di, %di
    xor %eax, %eax
    mov $0x1800, %cx
    cld
    rep stosl                          # 0x10000 .. 0x16000 = 0
    movl $0x11003, %es:0x0000          # PML4[0] -> PDPT
    movl $0x12003, %es:0x1000          # PDPT[0] -> PD
    movl $0x00083, %es:0x2000          # PD[0] -> 2 MiB page 0
    movl $0x13003, %es:0x2008          # PD[1] -> PT, empty: every page in it faults
    lgdt gdtr
    mov %cr4, %eax
    or $0x20, %eax
    mov %eax, %cr4
    mov $0x10000, %eax
    mov %eax, %cr3
    mov $0xc0000080, %ecx
    rdmsr
    or $0x100, %eax
    wrmsr
    mov %cr0, %eax
    or $0x80000001, %eax
    mov %eax, %cr0
    ljmp $0x08, $long_mode
.code64
long_mode:
    xor %eax, %eax
    mov %ax, %ss
    mov %ax, %ds
    mov $0x7c00, %esp
    # IDT[14] = page fault
    mov $0x14000 + 14 * 16, %edi
    mov $page_fault, %eax
    movw %ax, (%rdi)
    movw $0x08, 2(%rdi)
    movw $0x8e00, 4(%rdi)
    movl $0, 6(%rdi)
    lidt idtr
    xor %r8d, %r8d                     # faults seen
    mov $ROUNDS, %r9d
round:
    # Touch 64 pages of the empty table: each faults once.
    mov $0x200000, %esi
    mov $64, %ecx
touch:
    incq (%rsi)
    add $0x1000, %esi
    dec %ecx
    jnz touch
    # Unmap them again and drop what is cached.
    mov $0x13000, %edi
    mov $128, %ecx
    xor %eax, %eax
    rep stosl
    mov %cr3, %rax
    mov %rax, %cr3
    dec %r9d
    jnz round
    cmp $ROUNDS * 64, %r8d
    jne bad
    mov $0x2a, %al
    out %al, $0xf4
bad:
    mov $0x01, %al
    out %al, $0xf4
    hlt
    jmp bad
page_fault:
    inc %r8d
    mov %cr2, %rbx
    and $0x1ff000, %ebx                # offset in the 2 MiB
    mov %ebx, %edx
    shr $9, %edx                       # index * 8
    or $0x100003, %ebx                 # backed by physical 1 MiB + offset
    mov %rbx, 0x13000(%rdx)
    add $8, %rsp                       # error code
    iretq
.set ROUNDS, 2000
.balign 4
gdt:
    .quad 0
    .quad 0x00209a0000000000
gdtr:
    .word 15
    .long gdt
idtr:
    .word 0xfff
    .quad 0x14000
.org 510
.word 0xaa55
