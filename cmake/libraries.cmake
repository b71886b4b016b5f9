# Every library here is a Debian 12 package; hw-sim/setup knows their names.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
foreach(library IN ITEMS libcrypto libssl p11-kit-1 tss2-sys tss2-esys tss2-mu tss2-rc tss2-tctildr libsodium libuv
                         libnghttp2 libprotobuf-c libconfuse jansson jose sqlite3)
    pkg_check_modules(${library} REQUIRED IMPORTED_TARGET ${library})
endforeach()
