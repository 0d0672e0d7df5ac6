# hcsmoePlugin.cmake - hcsmoe_add_plugin: of the plugins of this tree, and installed, of everyone's.
# SPDX-License-Identifier: MIT

# hcsmoe_add_plugin(NAME KIND kind SOURCES file...)
# Makes the target hcsmoe-<kind>-<name>, a module that exports the entry alone and sees nothing of the core, and installs
# it where hcsmoe looks for plugins. Before it: the target hcsmoe::plugin, hcsmoe_PLUGIN_MAP and hcsmoe_PLUGIN_FOLDER.
function(hcsmoe_add_plugin name)
    cmake_parse_arguments(PARSE_ARGV 1 arg "" KIND SOURCES)
    set(kinds model similarity cluster merge task kernels)
    if(NOT arg_KIND IN_LIST kinds)
        message(FATAL_ERROR "hcsmoe_add_plugin(${name}): KIND is '${arg_KIND}': must be one of ${kinds}")
    elseif(NOT arg_SOURCES OR arg_UNPARSED_ARGUMENTS)
        message(FATAL_ERROR "hcsmoe_add_plugin(${name}): must be called as NAME KIND kind SOURCES file...")
    endif()
    set(target hcsmoe-${arg_KIND}-${name})
    add_library(${target} MODULE ${arg_SOURCES})
    target_link_libraries(${target} PRIVATE hcsmoe::plugin m)
    target_link_options(${target} PRIVATE -Wl,--version-script=${hcsmoe_PLUGIN_MAP})
    # clang leaves the sanitizers' symbols to the executable, so an undefined symbol is no mistake there.
    if(NOT (HCSMOE_SANITIZE AND CMAKE_C_COMPILER_ID MATCHES Clang))
        target_link_options(${target} PRIVATE -Wl,-z,defs)
    endif()
    set_target_properties(${target} PROPERTIES PREFIX "" LINK_DEPENDS ${hcsmoe_PLUGIN_MAP}
        C_VISIBILITY_PRESET hidden CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON)
    install(TARGETS ${target} LIBRARY DESTINATION ${hcsmoe_PLUGIN_FOLDER})
endfunction()
