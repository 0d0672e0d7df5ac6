# install.cmake - what cmake --install and cpack put where. All of it can be moved: the program finds its plugins beside it.
# SPDX-License-Identifier: MIT
include(CMakePackageConfigHelpers)

install(TARGETS hcsmoe RUNTIME DESTINATION bin)

# For plugins of anyone: headers, pkg-config, CMake, templates, the text that explains them.
install(DIRECTORY include/hcsmoe DESTINATION include FILES_MATCHING PATTERN "*.h")
configure_file(include/hcsmoe-plugin.pc.in hcsmoe-plugin.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/hcsmoe-plugin.pc DESTINATION lib/pkgconfig)
configure_file(include/hcsmoeConfig.cmake.in hcsmoeConfig.cmake @ONLY)
write_basic_package_version_file(${PROJECT_BINARY_DIR}/hcsmoeConfigVersion.cmake ARCH_INDEPENDENT
    VERSION ${HCSMOE_ABI_MAJOR}.${HCSMOE_ABI_MINOR_LATEST} COMPATIBILITY SameMajorVersion)
install(FILES ${PROJECT_BINARY_DIR}/hcsmoeConfig.cmake ${PROJECT_BINARY_DIR}/hcsmoeConfigVersion.cmake
    include/hcsmoePlugin.cmake include/plugin.map DESTINATION lib/cmake/hcsmoe)
install(TARGETS hcsmoe_plugin EXPORT hcsmoe)
install(EXPORT hcsmoe NAMESPACE hcsmoe:: FILE hcsmoeTargets.cmake DESTINATION lib/cmake/hcsmoe)
install(DIRECTORY plugins/template DESTINATION share/hcsmoe)
install(FILES plugins/README.md DESTINATION share/doc/hcsmoe RENAME plugins.md)
install(FILES include/CHANGELOG.md DESTINATION share/doc/hcsmoe RENAME plugin-abi-changes.md)
install(FILES LICENSE DESTINATION share/doc/hcsmoe RENAME copyright)

# INI files that run as they are, and the data that the bundled ones read.
install(DIRECTORY config DESTINATION share/hcsmoe PATTERN "*.sh" EXCLUDE)

# Compressed as Debian wants it, without a date, so that the same sources give the same package.
find_program(GZIP gzip REQUIRED)
configure_file(core/share/hcsmoe.1.in hcsmoe.1 @ONLY)
add_custom_command(OUTPUT hcsmoe.1.gz DEPENDS ${PROJECT_BINARY_DIR}/hcsmoe.1 VERBATIM COMMAND ${GZIP} -9nkf hcsmoe.1)
add_custom_target(man DEPENDS ${PROJECT_BINARY_DIR}/hcsmoe.1.gz)
# What is installed is complete when the program is built.
add_dependencies(hcsmoe man)
install(FILES ${PROJECT_BINARY_DIR}/hcsmoe.1.gz DESTINATION share/man/man1)

install(FILES core/share/hcsmoe.bash DESTINATION share/bash-completion/completions RENAME hcsmoe)
# Debian's zsh looks below /usr in a folder of its own.
install(CODE "set(folder site-functions)
    if(CMAKE_INSTALL_PREFIX STREQUAL /usr)
        set(folder vendor-completions)
    endif()
    file(INSTALL ${PROJECT_SOURCE_DIR}/core/share/_hcsmoe DESTINATION \${CMAKE_INSTALL_PREFIX}/share/zsh/\${folder})")

# cpack in the build folder makes hcsmoe_VERSION_ARCHITECTURE.deb.
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_STRIP_FILES ON)
set(CPACK_INSTALL_DEFAULT_DIRECTORY_PERMISSIONS
    OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
set(CPACK_PACKAGE_CONTACT "the hcsmoe authors <hcsmoe@localhost>" CACHE STRING "maintainer of the Debian package")
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_SECTION science)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
# Any variant of OpenBLAS runs; this is the one that the tests run with.
set(CPACK_DEBIAN_PACKAGE_DEPENDS libopenblas0-openmp)
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "gcc, pkg-config, cmake")
set(CPACK_PACKAGE_DESCRIPTION "Runs a little text through a mixture-of-experts checkpoint, finds the experts
of each layer that do nearly the same thing, merges them and writes a checkpoint
that is smaller: HC-SMoE without Python. Model families, similarity bases,
clusterings, merge methods, evaluation tasks and compute kernels are plugins
behind a C ABI; the headers and a template of each kind are included.")
include(CPack)
