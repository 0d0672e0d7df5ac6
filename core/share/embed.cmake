# embed.cmake - cmake -D FILE=share/name.py -D OUT=name.c -P embed.cmake: a file as a C array, declared in share.h.
# SPDX-License-Identifier: MIT
cmake_path(GET FILE FILENAME name)
string(MAKE_C_IDENTIFIER ${name} name)
file(READ ${FILE} bytes HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," bytes "${bytes}")
file(WRITE ${OUT} "#include \"share/share.h\"\n
const char ${name}[] = {${bytes}0};
const size_t ${name}_size = sizeof ${name} - 1;\n")
