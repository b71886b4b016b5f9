# signet_room(NAME DEPENDS...): the C files of this folder as the static library NAME. DEPENDS names the
# rooms and libraries below it; an arrow may only point down (see docs/design.md).
function(signet_room name)
    file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.c)
    if(sources)
        add_library(${name} STATIC ${sources})
        target_link_libraries(${name} PUBLIC signet_flags ${ARGN})
    else()
        add_library(${name} INTERFACE)
        target_link_libraries(${name} INTERFACE signet_flags ${ARGN})
    endif()
endfunction()
