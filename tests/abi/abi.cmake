# abi.cmake - plugins of release 1.0 built with the headers of 1.0, of today and of a minor to come; the frozen layout.
# SPDX-License-Identifier: MIT

# Compiling it is the test: every released member is where it was and of the type it was.
file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/abi_*.c)
add_library(abi_frozen OBJECT ${sources})
target_include_directories(abi_frozen PRIVATE ${PROJECT_SOURCE_DIR}/include)

# Headers of versions that are not there: 1.0 as long as the frozen ones say 0, and a host of minor 7 to come.
function(abi_headers name include)
    set(out ${abi_plugins}/${name})
    set(script ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/headers.sh)
    file(GLOB headers CONFIGURE_DEPENDS ${include}/hcsmoe/*.h)
    add_custom_command(OUTPUT ${out}/made DEPENDS ${script} ${headers}
        COMMAND sh ${script} ${include} ${out} ${ARGN} COMMAND ${CMAKE_COMMAND} -E touch ${out}/made VERBATIM)
    add_custom_target(abi_${name} DEPENDS ${out}/made)
endfunction()
abi_headers(headers_1_0 ${CMAKE_CURRENT_LIST_DIR}/v1_0/include 1 0)
abi_headers(headers_later ${PROJECT_SOURCE_DIR}/include 1 7 grow)

# One plugin per kind, as <folder>/<kind>.so.
function(abi_plugin folder kind include source)
    set(target abi-${folder}-${kind})
    add_library(${target} MODULE ${source})
    target_include_directories(${target} PRIVATE ${include})
    target_link_libraries(${target} PRIVATE m)
    target_link_options(${target} PRIVATE -Wl,--version-script=${PROJECT_SOURCE_DIR}/include/plugin.map)
    set_target_properties(${target} PROPERTIES PREFIX "" OUTPUT_NAME ${kind} C_VISIBILITY_PRESET hidden
        LIBRARY_OUTPUT_DIRECTORY ${abi_plugins}/${folder})
endfunction()
foreach(kind model similarity cluster merge task kernels)
    set(source ${CMAKE_CURRENT_LIST_DIR}/v1_0/${kind}.c)
    abi_plugin(v1_0 ${kind} ${CMAKE_CURRENT_LIST_DIR}/v1_0/include ${source})
    abi_plugin(today ${kind} ${PROJECT_SOURCE_DIR}/include ${source})
    abi_plugin(future ${kind} ${PROJECT_SOURCE_DIR}/include ${CMAKE_CURRENT_LIST_DIR}/future.c)
    target_compile_definitions(abi-future-${kind} PRIVATE SOURCE="v1_0/${kind}.c" OPS=hcsmoe_${kind}_ops)
    abi_plugin(released ${kind} ${abi_plugins}/headers_1_0 ${source})
    add_dependencies(abi-released-${kind} abi_headers_1_0)
endforeach()

# The host of a minor to come: its loader, registry and options, compiled with larger structs.
file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/core/base/*.c ${PROJECT_SOURCE_DIR}/core/plugin/*.c)
add_executable(test_abi_later unit/test_abi_later.c ${sources})
target_include_directories(test_abi_later PRIVATE ${abi_plugins}/headers_later ${PROJECT_SOURCE_DIR}/core)
target_compile_definitions(test_abi_later PRIVATE ${test_definitions} HCSMOE_ABI_MINOR=HCSMOE_ABI_MINOR_LATEST)
target_link_libraries(test_abi_later PRIVATE PkgConfig::CMOCKA PkgConfig::JANSSON PkgConfig::ZLIB PkgConfig::INIH
    PkgConfig::PCRE2 PkgConfig::UTF8PROC OpenMP::OpenMP_C Threads::Threads ${CMAKE_DL_LIBS} m)
add_dependencies(test_abi_later abi_headers_later)
add_test(NAME test_abi_later COMMAND test_abi_later)

foreach(script abidiff releases)
    add_test(NAME abi_${script} COMMAND sh ${CMAKE_CURRENT_LIST_DIR}/${script}.sh)
    set_tests_properties(abi_${script} PROPERTIES SKIP_RETURN_CODE ${status_skipped} ENVIRONMENT "SRC=${PROJECT_SOURCE_DIR}")
endforeach()
