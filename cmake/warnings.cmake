# What every file of signet is compiled with; STYLE: warnings are errors.
add_library(signet_flags INTERFACE)
target_include_directories(signet_flags INTERFACE ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
target_compile_definitions(signet_flags INTERFACE _GNU_SOURCE SIGNET_VERSION="${PROJECT_VERSION}")
target_compile_options(signet_flags INTERFACE
    -Wall -Wextra -Wshadow -Wconversion -Wvla -Wstrict-prototypes -Wmissing-prototypes
    -Wwrite-strings -Werror -fno-strict-aliasing)

if(SIGNET_SANITIZE STREQUAL "address")
    add_compile_options(-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer)
    add_link_options(-fsanitize=address,undefined)
    # For every program that runs the agent's parts.
    set(SIGNET_SANITIZER_OPTIONS ${CMAKE_SOURCE_DIR}/cmake/address.c)
elseif(SIGNET_SANITIZE STREQUAL "thread")
    add_compile_options(-fsanitize=thread -fno-omit-frame-pointer)
    add_link_options(-fsanitize=thread)
elseif(NOT CMAKE_BUILD_TYPE STREQUAL "Debug")
    target_compile_options(signet_flags INTERFACE
        -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection
        $<$<STREQUAL:${CMAKE_SYSTEM_PROCESSOR},x86_64>:-fcf-protection>)
    add_link_options(-Wl,-z,relro,-z,now)
endif()
if(SIGNET_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
endif()
include(CheckPIESupported)
check_pie_supported()
