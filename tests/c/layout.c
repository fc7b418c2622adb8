/* The public structs lie as every binding has them, with pointers of 64 and of 32 bits. Compiled, not run. */
#include <caudal.h>

#define AT(type, field, on64, on32)                                                                                    \
    _Static_assert(offsetof(type, field) == (sizeof(void *) == 8 ? (on64) : (on32)), #type "." #field)
#define SIZE(type, on64, on32) _Static_assert(sizeof(type) == (sizeof(void *) == 8 ? (on64) : (on32)), #type)

AT(cdl_error, code, 0, 0);
AT(cdl_error, line, 4, 4);
AT(cdl_error, message, 8, 8);
AT(cdl_error, op, 16, 12);
AT(cdl_error, argument, 24, 16);
AT(cdl_error, file, 32, 20);
SIZE(cdl_error, 40, 24);

AT(cdl_tensor, data, 0, 0);
AT(cdl_tensor, dims, 8, 4);
AT(cdl_tensor, rank, 16, 8);
AT(cdl_tensor, bytes, 24, 12);
AT(cdl_tensor, dtype, 32, 16);
AT(cdl_tensor, device, 36, 20);
SIZE(cdl_tensor, 40, 24);

AT(cdl_spec, dims, 0, 0);
AT(cdl_spec, symbols, 8, 4);
AT(cdl_spec, text, 16, 8);
AT(cdl_spec, rank, 24, 12);
AT(cdl_spec, dtype, 32, 16);
SIZE(cdl_spec, 40, 20);

AT(cdl_bytes, data, 0, 0);
AT(cdl_bytes, len, 8, 4);
SIZE(cdl_bytes, 16, 8);
